//! Arbitrary bytes return a value or an error, and never panic. Runs the entries of the fuzz
//! targets on seeds, on mutations of them, and on arbitrary bytes.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed, TestRunner},
};
use service_specific_credentials::{ListRequest, ListUsersRequest, MaxItems};

mod entries;

fn config() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        (config.cases, config.rng_seed) = (400, RngSeed::Fixed(7));
    }
    config
}

fn seeds(entry: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/untrusted_input/fuzz_entries/seeds")
        .join(entry);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A mutation of bytes.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
    Append(Vec<u8>),
}

impl Edit {
    fn apply(self, bytes: &mut Vec<u8>) {
        let range = |from: Index, to: Index, length: usize| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to)
        };
        if bytes.is_empty() {
            bytes.push(b'&');
        }
        match self {
            Self::Set(at, byte) => *at.get_mut(bytes) = byte,
            Self::Insert(at, piece) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, piece);
            }
            Self::Remove(from, to) => drop(bytes.drain(range(from, to, bytes.len()))),
            Self::Repeat(from, to) => bytes.extend_from_within(range(from, to, bytes.len())),
            Self::Append(piece) => bytes.extend(piece),
        }
    }
}

fn edit(seeds: Vec<Vec<u8>>, tokens: &'static [&'static str]) -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    let token = select(tokens).prop_map(|token| token.as_bytes().to_vec());
    let piece = prop_oneof![token, vec(any::<u8>(), 0..8)].boxed();
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (index(), piece.clone()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (index(), index()).prop_map(|(from, to)| Edit::Remove(from, to)),
        (index(), index()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        prop_oneof![select(seeds), piece].prop_map(Edit::Append),
    ]
}

/// Runs the entry on its seeds, on mutations of them and on arbitrary bytes.
fn run(entry: fn(&[u8]), seeds: Vec<Vec<u8>>, tokens: &'static [&'static str]) {
    assert!(!seeds.is_empty());
    for seed in &seeds {
        entry(seed);
    }
    let mutated =
        (select(seeds.clone()), vec(edit(seeds, tokens), 1..6)).prop_map(|(seed, edits)| {
            edits.into_iter().fold(seed, |mut bytes, edit| {
                edit.apply(&mut bytes);
                bytes
            })
        });
    let bytes = prop_oneof![3 => mutated, 1 => vec(any::<u8>(), 0..600)];
    let tested = TestRunner::new(config()).run(&bytes, |bytes| {
        entry(&bytes);
        Ok(())
    });
    tested.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn any_form_returns_a_response() {
    let tokens = &[
        "&",
        "=",
        "%",
        "+",
        "%00",
        "%FF",
        "%C3%A9",
        "&UserName=",
        "&UserName=bo",
        "&MaxItems=1",
        ";",
        "&AllUsers=1",
        "&Marker=",
        "&ServiceName=",
        "&Status=Active",
        "&CredentialAgeDays=1",
        "2147483648",
        "&ServiceSpecificCredentialId=",
        "&NewUserName=anika",
        "&x",
        "]]>",
        "<",
        "\r\n",
        "\u{fffe}",
        "#",
    ];
    run(entries::form, seeds("form"), tokens);
}

#[test]
fn any_authorization_header_is_rejected() {
    let tokens =
        &["Basic ", "Bearer ", "bAsIc", " ", "\t", "=", "==", "Og==", "YTpi", "-_", ":", ","];
    run(entries::authorization, seeds("authorization"), tokens);
}

#[test]
fn any_marker_belongs_to_the_query_or_is_rejected() {
    run(entries::marker, seeds("marker"), &["A", "=", "-", "_", "AQ", "\u{e9}", " ", "\n"]);
}

#[test]
fn any_record_is_decoded_or_rejected() {
    let tokens = &["\0", "\u{1}", "\u{7f}", "anika", "\u{18}codecommit.amazonaws.com", "\u{ff}"];
    run(entries::record, seeds("record"), tokens);
}

#[test]
fn any_form_is_decoded_as_by_form_urlencoded() {
    let tokens = &[
        "&",
        "=",
        "%",
        "+",
        "%00",
        "%FF",
        "%C3%A9",
        "&Tags.member.2.Key=",
        "&Tags.member.2.Value=",
        "&Path=%2F",
        "&UserName=",
        "&MaxItems=1",
        "&AllUsers=1",
        "&Action=",
    ];
    run(entries::form_differential::compare, seeds("form_differential"), tokens);
}

#[test]
fn any_text_in_xml_is_read_back_by_two_parsers() {
    let tokens =
        &["<", ">", "&", "]]>", "<![CDATA[", "<!--", "&#13;", "\r\n", "\0", "\u{fffe}", "\u{85}"];
    run(entries::xml::compare, seeds("xml"), tokens);
}

#[test]
fn any_alias_is_decoded_as_by_base64() {
    let tokens = &["ABSK", "=", "==", "Og==", "LWF0LTEyMzQ1Njc4OTAxMjo", "-_", ":", "\u{e9}", "\n"];
    run(entries::alias::compare, seeds("alias"), tokens);
}

/// The seeds include valid markers of some listing of the entries' manager.
#[test]
fn the_seeds_contain_a_marker_of_each_kind_of_listing() {
    let iam = entries::manager();
    let one = MaxItems::new(1).unwrap();
    let page = |request: ListRequest| iam.list_page(&request.max_items(one)).unwrap().next;
    let anika = || ListRequest::of("anika".parse().unwrap());
    let codecommit = entries::CODECOMMIT.parse().unwrap();
    for (file, marker) in [
        ("of-user", page(anika())),
        ("of-service", page(anika().service(codecommit))),
        ("of-all-users", page(ListRequest::all_users())),
        ("of-users", iam.list_users_page(&ListUsersRequest::new().max_items(one)).unwrap().next),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/untrusted_input/fuzz_entries/seeds/marker");
        let marker = marker.unwrap();
        if std::env::var_os("SSC_WRITE_GOLDEN").is_some() {
            fs::write(folder.join(file), marker.as_str()).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.join(file)).unwrap(), marker.as_str());
    }
}
