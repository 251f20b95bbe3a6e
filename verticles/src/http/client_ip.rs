//! Who the client is, and how much of its address may be kept.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use adtrack_config::{Cidr, ClientIp};
use http::HeaderMap;
use http::header::HeaderName;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client behind `peer`.
///
/// `X-Forwarded-For` is written from left to right by whoever the request passed; a client can write anything to its
/// left end. So it is read from the right, and only as long as the address that wrote an entry is a trusted proxy: the
/// first address that is not trusted is the client's. An entry that is no address ends the search at the proxy that
/// wrote it.
pub(super) fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &[Cidr]) -> IpAddr {
    let mut client = peer.to_canonical();
    if trusted.is_empty() {
        return client;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        let Some(address) = parse(entry) else { break };
        client = address;
    }
    client
}

/// An address, with or without a port.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = unbracketed.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    Some(address.ok()?.to_canonical())
}

/// What is kept of an address: all, nothing, or the /24 of an IPv4 and the /48 of an IPv6 address.
pub(super) fn kept(client: IpAddr, policy: ClientIp) -> String {
    match (policy, client) {
        (ClientIp::None, _) => String::new(),
        (ClientIp::Full, _) => client.to_string(),
        (ClientIp::Truncated, IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0")
        }
        (ClientIp::Truncated, IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let trusted: Vec<Cidr> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        client_of(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        assert_eq!(client("203.0.113.7", &["1.2.3.4"], &[]), "203.0.113.7");
        assert_eq!(client("203.0.113.7", &["1.2.3.4"], &["10.0.0.0/8"]), "203.0.113.7");
        assert_eq!(client("::ffff:203.0.113.7", &[], &[]), "203.0.113.7");
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["198.51.100.9"][..], "198.51.100.9"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.9"], "198.51.100.9"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.9, 10.9.9.9"], "198.51.100.9"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.9", "10.9.9.9"], "198.51.100.9"),
            ("fd00::1", &["2001:db8::5"], "2001:db8::5"),
            ("10.0.0.1", &["198.51.100.9:4711"], "198.51.100.9"),
            ("10.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            ("10.0.0.1", &["[2001:db8::5]"], "2001:db8::5"),
            ("10.0.0.1", &["::ffff:198.51.100.9"], "198.51.100.9"),
        ] {
            assert_eq!(client(peer, forwarded, &trusted), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn an_entry_that_is_no_address_leaves_the_proxy_that_wrote_it() {
        for garbage in ["unknown", "", "1.2.3", "6.6.6.6, ,", "\u{1}", "1.2.3.4; x"] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(garbage.as_bytes()) {
                headers.insert(FORWARDED_FOR, value);
            }
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            assert_eq!(client_of("10.0.0.1".parse().unwrap(), &headers, &trusted).to_string(), "10.0.0.1", "{garbage}");
        }
        assert_eq!(client("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn the_policy_says_how_much_of_an_address_is_kept() {
        let v4 = "198.51.100.77".parse().unwrap();
        let v6 = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        assert_eq!(kept(v4, ClientIp::Truncated), "198.51.100.0");
        assert_eq!(kept(v6, ClientIp::Truncated), "2001:db8:1::");
        assert_eq!(kept(v4, ClientIp::Full), "198.51.100.77");
        assert_eq!(kept(v6, ClientIp::Full), "2001:db8:1:2:3:4:5:6");
        assert_eq!(kept(v4, ClientIp::None), "");
    }

    proptest! {
        #[test]
        fn any_header_gives_some_address(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert(FORWARDED_FOR, value);
            }
            client_of("10.0.0.1".parse().unwrap(), &headers, &["10.0.0.0/8".parse().unwrap()]);
        }
    }
}
