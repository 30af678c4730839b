//! The numbering of service user names.

use super::UserRecord;
use crate::{
    names::{service_name::ServiceName, service_user_name::GeneratedName},
    policy::Numbering,
};

impl UserRecord {
    /// The lowest index from `first` on in the sequence of names, and its name, that none of the
    /// user's own credentials at the service has. Another user's credential may have it.
    pub(crate) fn free_name(
        &self,
        service: &ServiceName,
        first: u32,
        numbering: Numbering,
    ) -> (u32, GeneratedName) {
        let mut index = first;
        loop {
            let number = match numbering {
                Numbering::FromOne => Some(index + 1),
                Numbering::BareFirst => (index > 0).then_some(index),
            };
            let name = GeneratedName::new(&self.name, number, self.account);
            if self.position_of(service, name.as_str()).is_none() {
                return (index, name);
            }
            index += 1;
        }
    }
}
