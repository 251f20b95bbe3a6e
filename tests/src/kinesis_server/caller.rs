//! Who makes a call, as its headers say. Nothing is verified.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::date;

/// The signature's headers of one call, read when a fault asks for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    headers: &'a HeaderMap,
}

impl<'a> Caller<'a> {
    /// The caller that sent these headers.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        Self { headers }
    }

    /// The access key that the call is signed with: `AWS4-HMAC-SHA256 Credential=KEY/date/region/service/aws4_request, ...`.
    pub(crate) fn access_key_id(self) -> Option<&'a str> {
        let (_algorithm, credential) = self.text(AUTHORIZATION.as_str())?.split_once("Credential=")?;
        credential.split('/').next()
    }

    /// When the call was signed, milliseconds since 1970.
    pub(crate) fn signed_at_ms(self) -> Option<u64> {
        date::of_signature(self.text("x-amz-date")?)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn the_key_is_the_first_part_of_the_credential() {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20301231/eu-west-1/kinesis/aws4_request, SignedHeaders=host";
        assert_eq!(Caller::of(&headers("authorization", signed)).access_key_id(), Some("AKID"));
        assert_eq!(Caller::of(&headers("authorization", "Bearer x")).access_key_id(), None);
    }

    #[test]
    fn the_time_is_the_signatures_own() {
        assert_eq!(Caller::of(&headers("x-amz-date", "19700101T000001Z")).signed_at_ms(), Some(1_000));
        assert_eq!(Caller::of(&headers("date", "19700101T000001Z")).signed_at_ms(), None);
    }
}
