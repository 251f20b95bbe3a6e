//! Who may use the operators' routes.

use adtrack_config::Secret;
use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{Method, StatusCode};

use super::answer::{self, Response};

/// Decides by a request's head whether an operator sent it.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<Secret>,
}

impl Guard {
    /// With a token, whoever has it may; without one, whoever reaches the listener - which then is a loopback address.
    pub(super) fn new(token: Option<Secret>) -> Self {
        Self { token }
    }

    /// The answer to a request that is not let in.
    pub(super) fn refuse(&self, parts: &Parts) -> Option<Response> {
        match &self.token {
            Some(token) if !has_token(parts, token) => {
                Some(answer::fixed(StatusCode::UNAUTHORIZED, r#"{"error":"a bearer token is needed"}"#))
            }
            // A page in a browser on this machine reaches a loopback address, too. Under a name of its own that it has
            // made point here it could even read the answers; so without a token only names of this machine are served.
            None if !is_local_name(header(parts, &HOST).unwrap_or_default()) => {
                Some(answer::fixed(StatusCode::FORBIDDEN, r#"{"error":"the Host must be localhost or an address"}"#))
            }
            _ if parts.method == Method::POST && is_cross_origin(parts) => {
                Some(answer::fixed(StatusCode::FORBIDDEN, r#"{"error":"the Origin is another host"}"#))
            }
            _ => None,
        }
    }
}

fn header<'p>(parts: &'p Parts, name: &HeaderName) -> Option<&'p str> {
    parts.headers.get(name)?.to_str().ok()
}

fn has_token(parts: &Parts, token: &Secret) -> bool {
    let Some((scheme, candidate)) = header(parts, &AUTHORIZATION).and_then(|value| value.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && token.matches(candidate.trim().as_bytes())
}

/// A browser tells the origin of every POST; other clients tell none.
fn is_cross_origin(parts: &Parts) -> bool {
    if !parts.headers.contains_key(ORIGIN) {
        return false;
    }
    let origin = header(parts, &ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    match (origin, header(parts, &HOST)) {
        (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(host),
        _ => true,
    }
}

/// Whether a `Host` is `localhost` or an IP address, with or without a port.
fn is_local_name(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use adtrack_config::{Config, Overrides};
    use http::Request;

    const TOKEN: &str = "0123456789abcdef";

    fn token() -> Option<Secret> {
        Config::load(&Overrides::default(), &[("ADTRACK_ADMIN_TOKEN", TOKEN)]).unwrap().admin.token
    }

    fn status(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        guard.refuse(&parts).map_or(200, |response| response.status().as_u16())
    }

    #[test]
    fn with_a_token_only_its_bearer_is_let_in() {
        let guard = Guard::new(token());
        let right = format!("Bearer {TOKEN}");
        assert_eq!(status(&guard, "GET", &[("authorization", &right), ("host", "adtrack.example")]), 200);
        assert_eq!(status(&guard, "GET", &[("authorization", &right.replace('B', "b"))]), 200);
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeF",
            "Basic 0123456789abcdef",
            TOKEN,
            "Bearer 0123456789abcdef0",
        ] {
            assert_eq!(status(&guard, "GET", &[("authorization", wrong), ("host", "localhost")]), 401, "{wrong}");
        }
        assert_eq!(status(&guard, "GET", &[("host", "localhost")]), 401);
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_served() {
        let guard = Guard::new(None);
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:9090", "[::1]", "[::1]:9090"] {
            assert_eq!(status(&guard, "GET", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "evil.example:9090", "localhost.evil.example", "", ":9090", "127.0.0.1.evil.example"]
        {
            assert_eq!(status(&guard, "GET", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(&guard, "GET", &[]), 403);
    }

    #[test]
    fn a_post_from_a_page_of_another_host_is_refused() {
        let guard = Guard::new(None);
        let host = ("host", "127.0.0.1:9090");
        assert_eq!(status(&guard, "POST", &[host]), 200);
        assert_eq!(status(&guard, "POST", &[host, ("origin", "http://127.0.0.1:9090")]), 200);
        for origin in ["http://evil.example", "http://127.0.0.1:8080", "http://127.0.0.1", "null", "", "127.0.0.1:9090"]
        {
            assert_eq!(status(&guard, "POST", &[host, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(status(&guard, "GET", &[host, ("origin", "http://evil.example")]), 200);
    }
}
