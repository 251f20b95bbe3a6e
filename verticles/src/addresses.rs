//! Where a running service can be reached: noted in its data directory, for the commands.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The note, in the data directory.
pub const FILE_NAME: &str = "addresses.json";

/// Where a service listens, as `addresses.json` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// For the world.
    pub public: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
    /// The process.
    pub pid: u32,
}

/// Why the note cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AddressesError {
    /// The operating system refused, or there is none.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The note.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// It is not such a note.
    #[error("{} holds no addresses", path.display())]
    Content {
        /// The note.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Addresses {
    /// Notes the addresses; whoever reads finds the old note or this one, whole. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(FILE_NAME).suffix(".new").tempfile_in(data_dir)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.write_all(b"\n")?;
        file.persist(data_dir.join(FILE_NAME))?;
        Ok(())
    }

    /// Reads the note. It may be of a service that has ended. Blocks.
    ///
    /// # Errors
    /// [`AddressesError`].
    pub fn read(data_dir: &Path) -> Result<Self, AddressesError> {
        let path = data_dir.join(FILE_NAME);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| AddressesError::Content { path, source }),
            Err(source) => Err(AddressesError::Io { path, source }),
        }
    }

    /// Notes the addresses again when there is no note any more: somebody has removed the directory under the service. A
    /// note that says something else is left alone. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn keep(&self, data_dir: &Path) -> io::Result<()> {
        if data_dir.join(FILE_NAME).try_exists()? {
            return Ok(());
        }
        std::fs::create_dir_all(data_dir)?;
        self.write(data_dir)
    }

    /// Removes the note when the service has ended. One that names another process is left alone.
    pub fn remove(&self, data_dir: &Path) {
        if matches!(Self::read(data_dir), Ok(noted) if noted == *self)
            && let Err(error) = std::fs::remove_file(data_dir.join(FILE_NAME))
        {
            tracing::warn!(%error, "the note of the addresses could not be removed");
        }
    }
}

/// "Every address of this machine" is listened on, but asked on loopback.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_was_noted_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Addresses::read(dir.path()), Err(AddressesError::Io { .. })));
        let (public, admin) = ("0.0.0.0:8080".parse().unwrap(), "[::1]:9090".parse().unwrap());
        let addresses = Addresses { public, admin, pid: 7 };
        addresses.write(dir.path()).unwrap();
        assert_eq!(Addresses::read(dir.path()).unwrap(), addresses);
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(text, "{\"public\":\"0.0.0.0:8080\",\"admin\":\"[::1]:9090\",\"pid\":7}\n");
        std::fs::write(dir.path().join(FILE_NAME), "x").unwrap();
        assert!(matches!(Addresses::read(dir.path()), Err(AddressesError::Content { .. })));
    }

    #[test]
    fn a_note_that_is_gone_is_written_again_and_one_of_another_service_stays() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let address = "127.0.0.1:1".parse().unwrap();
        let addresses = Addresses { public: address, admin: address, pid: 7 };
        addresses.keep(&data_dir).unwrap();
        assert_eq!(Addresses::read(&data_dir).unwrap(), addresses);
        Addresses { pid: 8, ..addresses }.keep(&data_dir).unwrap();
        assert_eq!(Addresses::read(&data_dir).unwrap(), addresses);
    }

    #[test]
    fn every_address_is_asked_on_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reach("[::]:8080"), "[::1]:8080");
        assert_eq!(reach("10.1.2.3:80"), "10.1.2.3:80");
    }
}
