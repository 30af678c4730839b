//! The actions by name, and the names of their response elements.

use super::xml::{Root, root};

/// Declares the actions. The names of their elements derive from theirs.
macro_rules! actions {
    ($($Action:ident = $name:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Action {
            $($Action),+
        }

        impl Action {
            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$Action),)+
                    _ => None,
                }
            }

            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$Action => $name),+
                }
            }

            /// The name in the policies of IAM.
            pub(super) const fn iam(self) -> &'static str {
                match self {
                    $(Self::$Action => concat!("iam:", $name)),+
                }
            }

            pub(super) const fn response(self) -> Root {
                match self {
                    $(Self::$Action => root!(concat!($name, "Response"))),+
                }
            }

            pub(super) const fn result(self) -> &'static str {
                match self {
                    $(Self::$Action => concat!($name, "Result")),+
                }
            }
        }
    };
}

actions! {
    Create = "CreateServiceSpecificCredential",
    List = "ListServiceSpecificCredentials",
    Update = "UpdateServiceSpecificCredential",
    Reset = "ResetServiceSpecificCredential",
    Delete = "DeleteServiceSpecificCredential",
    CreateUser = "CreateUser",
    GetUser = "GetUser",
    UpdateUser = "UpdateUser",
    DeleteUser = "DeleteUser",
    ListUsers = "ListUsers",
    TagUser = "TagUser",
    UntagUser = "UntagUser",
    ListUserTags = "ListUserTags",
}
