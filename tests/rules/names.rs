//! Names and numbers: accepted values, rejected values, and their errors.
//!
//! The values are in `tests/rules/vectors`, one file per type.

use std::{
    error::Error,
    fmt::{Debug, Display},
    hash::{DefaultHasher, Hash, Hasher},
    str::FromStr,
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde::{Serialize, de::DeserializeOwned};
use service_specific_credentials::{
    AccountId, Constraint, CredentialId, InvalidAccountId, InvalidCredentialId, InvalidMarker,
    InvalidParameter, InvalidServiceName, InvalidServiceUserName, InvalidStatus, InvalidUserName,
    Lifetime, Marker, MaxItems, ServiceName, ServiceUserName, Status, UserName,
};

/// The output formats of a name.
trait Format: Display + Debug + Serialize {}

impl<T: Display + Debug + Serialize> Format for T {}

/// A type of names, and its documented properties.
trait Name: FromStr<Err: Copy + Into<InvalidParameter> + Error> + Format + DeserializeOwned {
    const PARAMETER: &str;
    /// Its pattern, minimum length and maximum length.
    const SHAPE: Option<(&str, usize, usize)>;

    fn constraint(error: Self::Err) -> Constraint;

    /// The stored form of a text.
    fn keep(text: &str) -> String {
        text.to_owned()
    }
}

macro_rules! names {
    ($($Name:ty, $Invalid:ty, $parameter:literal, $shape:expr $(, $keep:path)?;)+) => {$(
        impl Name for $Name {
            const PARAMETER: &str = $parameter;
            const SHAPE: Option<(&str, usize, usize)> = $shape;

            fn constraint(error: $Invalid) -> Constraint {
                error.constraint()
            }

            $(fn keep(text: &str) -> String {
                $keep(text)
            })?
        }
    )+};
}

macro_rules! shape {
    ($Name:ident) => {
        Some(($Name::PATTERN, $Name::MIN_LENGTH, $Name::MAX_LENGTH))
    };
}

names! {
    UserName, InvalidUserName, "userName", shape!(UserName);
    ServiceName, InvalidServiceName, "serviceName", shape!(ServiceName), str::to_ascii_lowercase;
    CredentialId, InvalidCredentialId, "serviceSpecificCredentialId", shape!(CredentialId);
    ServiceUserName, InvalidServiceUserName, "serviceUserName", shape!(ServiceUserName);
    Marker, InvalidMarker, "marker", shape!(Marker);
    AccountId, InvalidAccountId, "accountId", Some((AccountId::PATTERN, 12, 12));
    Status, InvalidStatus, "status", None;
}

/// A file of vectors.
#[derive(Default)]
struct Vectors<'a> {
    pattern: &'a str,
    shortest: &'a str,
    longest: &'a str,
    accepted: Vec<String>,
    /// The violated constraint, in words, and the text.
    rejected: Vec<(String, String)>,
}

impl<'a> Vectors<'a> {
    fn read(file: &'a str) -> Self {
        let mut vectors = Self::default();
        for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "pattern" => vectors.pattern = rest,
                "shortest" => vectors.shortest = rest,
                "longest" => vectors.longest = rest,
                "accept" => vectors.accepted.push(value(rest)),
                "reject" => {
                    let (constraint, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                    vectors.rejected.push((vectors.words(constraint), value(rest)));
                }
                _ => unreachable!("{line}"),
            }
        }
        assert!(vectors.accepted.len() > 2 && vectors.rejected.len() > 10, "{file}");
        vectors
    }

    fn words(&self, constraint: &str) -> String {
        match constraint {
            "longest" => format!("must have length less than or equal to {}", self.longest),
            "shortest" => format!("must have length greater than or equal to {}", self.shortest),
            "pattern" => format!("must satisfy regular expression pattern: {}", self.pattern),
            "enum" => "must satisfy enum value set".to_owned(),
            _ => unreachable!("{constraint}"),
        }
    }
}

/// Concatenated JSON strings. A number repeats the string after it.
fn value(text: &str) -> String {
    let mut times = 1;
    let mut value = String::new();
    for piece in serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>() {
        match piece {
            Ok(serde_json::Value::String(piece)) => {
                value += &piece.repeat(times);
                times = 1;
            }
            Ok(number) if number.is_u64() => {
                times = number.as_u64().and_then(|number| number.try_into().ok()).unwrap_or(1);
            }
            other => unreachable!("{text}: {other:?}"),
        }
    }
    value
}

fn check<T: Name>(file: &str) {
    let vectors = Vectors::read(file);
    if let Some((pattern, shortest, longest)) = T::SHAPE {
        assert_eq!(pattern, vectors.pattern);
        assert_eq!(
            (shortest.to_string(), longest.to_string()),
            (vectors.shortest.into(), vectors.longest.into())
        );
    }
    for text in &vectors.accepted {
        let name: T = text.parse().expect(text);
        assert_eq!(name.to_string(), T::keep(text));
        let json = serde_json::to_value(&name).ok();
        assert_eq!(json, Some(T::keep(text).into()));
        let back: Option<T> = serde_json::from_value(text.as_str().into()).ok();
        assert_eq!(back.map(|back| back.to_string()), Some(T::keep(text)));
    }
    for (words, text) in &vectors.rejected {
        let error = text.parse::<T>().expect_err(text);
        assert_eq!(T::constraint(error).to_string(), *words, "{text:?}");
        assert!(error.to_string().ends_with(&format!(" {words}")), "{error}");
        let invalid: InvalidParameter = error.into();
        assert_eq!((invalid.name(), invalid.constraint()), (T::PARAMETER, T::constraint(error)));
        assert_eq!(invalid.to_string(), error.to_string());
        let json = serde_json::from_value::<T>(text.as_str().into()).expect_err(text);
        assert_eq!(json.to_string(), error.to_string());
    }
    for huge in ["a", "é", "\0"] {
        let error = huge.repeat(10_000_000 / huge.len()).parse::<T>().expect_err("10 MB");
        let expected = T::SHAPE
            .map_or(Constraint::EnumValueSet, |(_, _, longest)| Constraint::MaxLength(longest));
        assert_eq!(T::constraint(error), expected);
    }
}

fn check_conversions<T>(file: &str)
where
    T: Name + for<'a> TryFrom<&'a str> + TryFrom<String>,
{
    let vectors = Vectors::read(file);
    for text in &vectors.accepted {
        let converted = [T::try_from(text.as_str()).ok(), T::try_from(text.clone()).ok()];
        for name in converted {
            assert_eq!(name.map(|name| name.to_string()), Some(T::keep(text)));
        }
    }
    for (_, text) in &vectors.rejected {
        assert!(T::try_from(text.as_str()).is_err() && T::try_from(text.clone()).is_err());
    }
}

fn check_text<T: Name + AsRef<str>>(file: &str) {
    for text in &Vectors::read(file).accepted {
        let name: Option<T> = text.parse().ok();
        assert_eq!(name.as_ref().map(AsRef::as_ref), Some(T::keep(text).as_str()));
    }
}

#[test]
fn user_names() {
    let file = include_str!("vectors/user_name.txt");
    check::<UserName>(file);
    check_conversions::<UserName>(file);
    check_text::<UserName>(file);
}

#[test]
fn service_names() {
    let file = include_str!("vectors/service_name.txt");
    check::<ServiceName>(file);
    check_conversions::<ServiceName>(file);
    check_text::<ServiceName>(file);
}

#[test]
fn credential_ids() {
    let file = include_str!("vectors/credential_id.txt");
    check::<CredentialId>(file);
    check_conversions::<CredentialId>(file);
    check_text::<CredentialId>(file);
}

#[test]
fn service_user_names() {
    let file = include_str!("vectors/service_user_name.txt");
    check::<ServiceUserName>(file);
    check_conversions::<ServiceUserName>(file);
    check_text::<ServiceUserName>(file);
}

#[test]
fn account_ids() {
    let file = include_str!("vectors/account_id.txt");
    check::<AccountId>(file);
    check_conversions::<AccountId>(file);
}

#[test]
fn markers() {
    let file = include_str!("vectors/marker.txt");
    check::<Marker>(file);
    check_text::<Marker>(file);
}

#[test]
fn statuses() {
    check::<Status>(include_str!("vectors/status.txt"));
}

#[test]
fn a_name_converts_into_its_stored_text() {
    assert_eq!(String::from("Anika".parse::<UserName>().unwrap()), "Anika");
    assert_eq!(String::from("GIT.Example".parse::<ServiceName>().unwrap()), "git.example");
}

#[test]
fn a_name_is_padded_like_text() {
    let anika: UserName = "anika".parse().unwrap();
    assert_eq!(format!("{anika:>7}|{anika:<6}|{anika:.2}"), "  anika|anika |an");
    assert_eq!(format!("{:10}|", Status::Active), "Active    |");
}

fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn check_folding<T: FromStr<Err: Debug> + Ord + Hash + Debug + AsRef<str>>(texts: &[&str]) {
    let name = |text: &str| text.parse::<T>().unwrap();
    for left in texts {
        for right in texts {
            let expected = left.to_ascii_lowercase().cmp(&right.to_ascii_lowercase());
            let (left, right) = (name(left), name(right));
            assert_eq!(left.cmp(&right), expected, "{left:?} {right:?}");
            assert_eq!(left.partial_cmp(&right), Some(expected));
            assert_eq!(left == right, expected.is_eq());
            assert_eq!(hash(&left) == hash(&right), expected.is_eq(), "{left:?} {right:?}");
        }
        assert_eq!(name(left).as_ref(), *left, "keeps its spelling");
    }
}

/// `_` sorts between upper-case and lower-case letters, so it distinguishes folding to lower case
/// from folding to upper case.
const SPELLINGS: [&str; 12] =
    ["anika", "Anika", "ANIKA", "anik", "anikaa", "a_", "aB", "A_", "ab", "@", "a+1", "A+1"];

#[test]
fn user_names_are_equal_hashed_and_ordered_without_case() {
    check_folding::<UserName>(&SPELLINGS);
}

#[test]
fn service_user_names_are_equal_hashed_and_ordered_without_case() {
    let long = "a".repeat(199);
    let others = [format!("{long}b"), format!("{long}B"), format!("{long}c"), "A".repeat(200)];
    let texts: Vec<_> = SPELLINGS.into_iter().chain(others.iter().map(String::as_str)).collect();
    check_folding::<ServiceUserName>(&texts);
}

#[test]
fn service_names_are_equal_in_every_spelling() {
    let lower: ServiceName = "git.example.com".parse().unwrap();
    let upper: ServiceName = "GIT.example.COM".parse().unwrap();
    assert_eq!((&lower, hash(&lower), lower.as_str()), (&upper, hash(&upper), upper.as_str()));
}

#[test]
fn credential_ids_compare_byte_for_byte() {
    let upper: CredentialId = "ACCA12345ABCDEXAMPLE".parse().unwrap();
    let lower: CredentialId = "acca12345abcdexample".parse().unwrap();
    assert!(upper != lower && upper < lower);
}

#[test]
fn a_lifetime_has_1_to_36600_days() {
    let too_few = Constraint::MinValue(1);
    let too_many = Constraint::MaxValue(36_600);
    for (days, expected) in [
        (0, Err(too_few)),
        (1, Ok(1)),
        (36_600, Ok(36_600)),
        (36_601, Err(too_many)),
        (u32::MAX, Err(too_many)),
    ] {
        let age = Lifetime::days(days);
        assert_eq!(age.map(Lifetime::as_days).map_err(|error| error.constraint()), expected);
    }
    let parameter = InvalidParameter::from(Lifetime::days(0).unwrap_err());
    assert_eq!(parameter.name(), "credentialAgeDays");
    assert_eq!(too_few.to_string(), "must have value greater than or equal to 1");
    assert_eq!(too_many.to_string(), "must have value less than or equal to 36600");
}

#[test]
fn a_page_holds_1_to_1000_items_and_100_by_default() {
    for (items, expected) in [
        (0, Err(Constraint::MinValue(1))),
        (1, Ok(1)),
        (1000, Ok(1000)),
        (1001, Err(Constraint::MaxValue(1000))),
        (u32::MAX, Err(Constraint::MaxValue(1000))),
    ] {
        let max = MaxItems::new(items);
        assert_eq!(max.map(MaxItems::get).map_err(|error| error.constraint()), expected);
    }
    assert_eq!(MaxItems::default().get(), 100);
    assert_eq!(InvalidParameter::from(MaxItems::new(0).unwrap_err()).name(), "maxItems");
}

/// The grammars again, written by hand.
fn word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn user(letter: char) -> bool {
    word(letter) || "+=,.@-".contains(letter)
}

fn service(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || ".-".contains(letter)
}

fn latin(letter: char) -> bool {
    ('\u{20}'..='\u{ff}').contains(&letter)
}

fn is(text: &str, permitted: fn(char) -> bool, shortest: usize, longest: usize) -> bool {
    (shortest..=longest).contains(&text.chars().count()) && text.chars().all(permitted)
}

/// The parsers accept a text if and only if the hand-written checks do.
fn agree(text: &str) {
    let accepted = [
        text.parse::<UserName>().is_ok(),
        text.parse::<ServiceUserName>().is_ok(),
        text.parse::<CredentialId>().is_ok(),
        text.parse::<ServiceName>().is_ok(),
        text.parse::<Marker>().is_ok(),
        text.parse::<AccountId>().is_ok(),
    ];
    let expected = [
        is(text, user, 1, 64),
        is(text, user, 1, 200),
        is(text, word, 20, 128),
        is(text, service, 1, 128),
        is(text, latin, 1, 320),
        is(text, |letter| letter.is_ascii_digit(), 12, 12),
    ];
    assert_eq!(accepted, expected, "{text:?}");
}

#[test]
fn every_character_agrees_with_the_hand_written_grammar() {
    for letter in '\0'..='\u{2ff}' {
        agree(&letter.to_string());
        agree(&format!("aaaaaaaaaa{letter}aaaaaaaaaa"));
        agree(&format!("11111111111{letter}"));
    }
}

#[test]
fn every_text_agrees_with_the_hand_written_grammar() {
    let one_of = |letters: &str| proptest::sample::select(letters.chars().collect::<Vec<_>>());
    let letter = prop_oneof![
        4000 => one_of("abcxyz"),
        4000 => one_of("0129AZ"),
        40 => one_of("_+=,.@-"),
        4 => one_of(" \t\n\0é٣Ａ\u{ff}\u{100}"),
        1 => any::<char>(),
    ];
    let length = prop_oneof![
        4 => 0..=25_usize,
        1 => 60..=70_usize,
        1 => 125..=131_usize,
        1 => 198..=203_usize,
        1 => 318..=323_usize,
    ];
    let text = length.prop_flat_map(move |length| {
        proptest::collection::vec(letter.clone(), length).prop_map(String::from_iter)
    });
    let digits = "[0-9]{11,13}";
    let config = Config {
        cases: 300,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    let texts = prop_oneof![6 => text, 1 => digits];
    let judged = TestRunner::new(config).run(&texts, |text| {
        agree(&text);
        Ok(())
    });
    judged.unwrap();
}
