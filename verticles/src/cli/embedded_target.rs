//! The embedded store that a command is for, and who has it.

use std::net::SocketAddr;
use std::path::PathBuf;

use adtrack_config::Secret;

use super::admin_client::{AdminClient, AdminError};
use super::program_store::StoreError;
use crate::addresses::Addresses;
use crate::data_dir::real_path;
use crate::embedded::{Limits, ProgramFile};

/// Which embedded store.
#[derive(Debug, Clone)]
pub struct EmbeddedTarget {
    /// Where the file and the service's addresses are.
    pub data_dir: PathBuf,
    /// How much the store may hold.
    pub limits: Limits,
    /// Where the service with the same settings has its admin API.
    pub admin: SocketAddr,
    /// The admin API's token.
    pub token: Option<Secret>,
}

/// Who has the store.
#[derive(Debug)]
pub(super) enum Holder {
    /// A service, which is to be asked.
    Service(AdminClient),
    /// Somebody who cannot be asked: another command, or a service that does not listen yet.
    Somebody(StoreError),
    /// Nobody.
    Nobody,
}

impl EmbeddedTarget {
    /// Who has the store at this moment.
    ///
    /// The file's lock tells, and the noted addresses tell where its service is. A service whose files were removed or
    /// replaced has no lock any more: one that answers where the note or the settings say, and that names this very data
    /// directory, is asked all the same. Otherwise there would be two stores, and the one that is changed would not be the
    /// one that answers.
    pub(super) async fn holder(&self) -> Holder {
        let noted = Addresses::read(&self.data_dir);
        if ProgramFile::is_in_use(&self.data_dir) {
            let admin = match noted {
                Ok(noted) => AdminClient::new(noted.admin, self.token.clone()),
                Err(error) => return Holder::Somebody(error.into()),
            };
            // An old note names nobody. Any answer will do: the directory may have another name where the service runs.
            return match admin.data_dir().await {
                Err(error @ AdminError::Unreachable { .. }) => Holder::Somebody(error.into()),
                Ok(_) | Err(_) => Holder::Service(admin),
            };
        }
        let Ok(own) = real_path(&self.data_dir) else { return Holder::Nobody };
        let known = noted.ok().map(|noted| noted.admin);
        let configured = Some(self.admin).filter(|admin| admin.port() != 0 && Some(*admin) != known);
        for address in known.into_iter().chain(configured) {
            let admin = AdminClient::new(address, self.token.clone());
            if matches!(admin.data_dir().await, Ok(Some(dir)) if dir == own) {
                return Holder::Service(admin);
            }
        }
        Holder::Nobody
    }
}
