//! The path and the tags, which most records do not have.

use std::sync::Arc;

use crate::{
    names::{credential_id::CredentialId, user_path::UserPath},
    tags::Tags,
};

/// The path of a user, and the tags of the user and of the credentials. A record without any holds
/// a null pointer, and authentication never reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Details(Option<Arc<Parts>>);

#[derive(Clone, Debug)]
struct Parts {
    path: UserPath,
    tags: Tags,
    /// The tags of the credentials that have any.
    credentials: Vec<(CredentialId, Tags)>,
}

static NONE: Parts = Parts { path: UserPath::ROOT, tags: Tags::new(), credentials: Vec::new() };

impl Details {
    fn parts(&self) -> &Parts {
        self.0.as_deref().unwrap_or(&NONE)
    }

    pub(super) fn path(&self) -> &UserPath {
        &self.parts().path
    }

    /// The tags of the user.
    pub(super) fn tags(&self) -> &Tags {
        &self.parts().tags
    }

    /// The tags of a credential.
    pub(super) fn tags_of(&self, id: &CredentialId) -> &Tags {
        let tagged = self.parts().credentials.iter().find(|(tagged, _)| tagged == id);
        tagged.map_or(&NONE.tags, |(_, tags)| tags)
    }

    pub(super) fn with_path(&self, path: UserPath) -> Self {
        self.edited(|parts| parts.path = path)
    }

    pub(super) fn with_tags(&self, tags: Tags) -> Self {
        self.edited(|parts| parts.tags = tags)
    }

    /// With these tags of a credential, or, if there are none, without its tags.
    pub(super) fn with_tags_of(&self, id: &CredentialId, tags: Tags) -> Self {
        if self.tags_of(id).is_empty() && tags.is_empty() {
            return self.clone();
        }
        self.edited(|parts| {
            parts.credentials.retain(|(tagged, _)| tagged != id);
            if !tags.is_empty() {
                parts.credentials.push((id.clone(), tags));
            }
        })
    }

    /// With the tags of credentials, none of which has any.
    pub(super) fn with_tags_of_all(self, tagged: Vec<(CredentialId, Tags)>) -> Self {
        if tagged.is_empty() { self } else { self.edited(|parts| parts.credentials = tagged) }
    }

    fn edited(&self, edit: impl FnOnce(&mut Parts)) -> Self {
        let mut parts = self.parts().clone();
        edit(&mut parts);
        let Parts { path, tags, credentials } = &parts;
        let is_plain = *path == UserPath::ROOT && tags.is_empty() && credentials.is_empty();
        Self((!is_plain).then(|| Arc::new(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_details_holds_a_null_pointer() {
        let tags = Tags::from_pairs([("a", "1")]).unwrap();
        let id = CredentialId::from_static("ACCA12345ABCDEXAMPLE");
        let other = CredentialId::from_static("ACCA67890ABCDEXAMPLE");
        let all = Details::default()
            .with_path(UserPath::from_static("/a/"))
            .with_tags(tags.clone())
            .with_tags_of(&id, tags.clone());
        assert_eq!((all.path().as_str(), all.tags(), all.tags_of(&id)), ("/a/", &tags, &tags));
        assert!(all.tags_of(&other).is_empty());
        let none = all.with_path(UserPath::ROOT).with_tags(Tags::new());
        assert_eq!((none.path().as_str(), none.tags_of(&id)), ("/", &tags));
        let none = none.with_tags_of(&id, Tags::new());
        assert!(none.0.is_none() && none.tags_of(&id).is_empty());
        assert!(none.with_tags_of(&id, Tags::new()).0.is_none());
    }
}
