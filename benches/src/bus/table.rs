//! A direct call through a table of names: what a bus costs when there is none.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::body::Body;

type Service = Box<dyn Fn(Arc<Body>) -> u64>;

/// Services by name.
pub(super) struct Table(HashMap<&'static str, Service, BuildHasherDefault<Fnv>>);

impl Table {
    pub(super) fn new(name: &'static str) -> Self {
        let service: Service = Box::new(|body| body.look());
        Self(HashMap::from_iter([(name, service)]))
    }

    pub(super) fn call(&self, name: &str, body: Arc<Body>) -> Option<u64> {
        self.0.get(name).map(|service| service(body))
    }
}

/// FNV-1a: the standard library's hasher, made for hostile keys, would cost more than the call.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
}
