use smol_str::SmolStr;

use crate::name::{caseless, name};

name! {
    /// The name of an IAM user.
    ///
    /// Names that differ in ASCII case alone are equal, hash alike and name the same user. Each
    /// keeps the spelling it was made with. Order is that of the bytes, ASCII capitals taken for
    /// small letters; listings of all users follow it.
    ///
    /// ```
    /// use service_specific_credentials::UserName;
    ///
    /// let anika: UserName = "Anika".parse()?;
    /// assert_eq!(anika, "anika".parse()?);
    /// assert_eq!(anika.as_str(), "Anika");
    /// assert!("a b".parse::<UserName>().is_err());
    /// # Ok::<(), service_specific_credentials::InvalidUserName>(())
    /// ```
    #[derive(Clone)]
    pub struct UserName, "user name", parameter "userName";
    pattern r"[\w+=,.@-]+", 1 to 64 characters, kept as SmolStr::new;
    /// The text is not a [`UserName`].
    pub struct InvalidUserName;
}

caseless!(UserName);
