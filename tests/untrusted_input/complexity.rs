//! Requests of any shape take time and memory linear in their length, from parsing to the response.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use service_specific_credentials::{
    CredentialManager, Marker, MemoryStore,
    query::{self, Dialect, MAX_BYTES, RequestId},
    store::UserRecord,
};

use crate::common::{ACCOUNT, name};

/// As many of them, numbered, as fit into `length`.
fn many(length: usize, mut one: impl FnMut(&mut String, usize)) -> String {
    let mut form = String::with_capacity(length + 64);
    for number in 0.. {
        let before = form.len();
        one(&mut form, number);
        if form.len() > length {
            form.truncate(before);
            return form;
        }
    }
    form
}

fn of_list(parameter: &str, value: &str, length: usize) -> String {
    let start = format!(
        "Action=ListServiceSpecificCredentials&Version=2010-05-08&UserName=anika&{parameter}="
    );
    let times = (length - start.len()) / value.len();
    start + &value.repeat(times)
}

/// Shapes that may be expensive to parse, of about this many bytes.
fn forms(length: usize) -> Vec<(&'static str, String)> {
    let named = |parameter: &'static str, value: &'static str| of_list(parameter, value, length);
    let echoed = |value: &str| format!("Action={}", value.repeat((length - 7) / value.len()));
    vec![
        ("many parameters", many(length, |form, number| write!(form, "{number:x}&").unwrap())),
        (
            "many values",
            many(length, |form, number| write!(form, "{number:x}={number:x}&").unwrap()),
        ),
        ("encoded names", many(length, |form, number| write!(form, "%61{number:x}&").unwrap())),
        ("names that begin alike", {
            let start = "a".repeat(1000);
            many(length, |form, number| write!(form, "{start}{number}&").unwrap())
        }),
        ("nothing", "&".repeat(length)),
        ("no names", "=".repeat(length)),
        ("an unknown value", named("Padding", "x")),
        ("an unknown name", "x".repeat(length)),
        ("a user name", {
            let start = "Action=GetUser&Version=2010-05-08&UserName=".to_owned();
            start.clone() + &"x".repeat(length - start.len())
        }),
        ("a service", named("ServiceName", "x")),
        ("a marker", named("Marker", "x")),
        ("a marker of capitals", named("Marker", "%C3%BF")),
        ("a number", named("MaxItems", "0")),
        ("a boolean", named("AllUsers", "true")),
        ("percent signs", echoed("%25")),
        ("plus signs", echoed("+")),
        ("quotation marks", echoed("%22")),
        ("raw quotation marks", echoed("\"")),
        ("line ends", echoed("\r")),
        ("control characters", echoed("\u{1}")),
        ("no text", echoed("%FF")),
        ("broken encoding at the end", echoed("%41").trim_end_matches('1').to_owned()),
    ]
}

fn response(form: &str) {
    let iam = CredentialManager::new(name(ACCOUNT), MemoryStore::new());
    let request = http::Request::post("/")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .unwrap();
    let id = RequestId::from_bytes([7; 16]);
    drop(query::handle(&iam, &request, None, Dialect::Documented, id));
}

/// Bytes allocated, in total and at peak, and the number of allocations, on a separate thread.
fn heap(work: impl Fn() + Sync) -> [u64; 3] {
    let heap = thread::scope(|scope| scope.spawn(|| measure(&work)).join().unwrap());
    [heap.bytes_total, heap.bytes_max, heap.count_total]
}

#[test]
fn memory_is_linear_in_the_form() {
    // One-time initialization is not counted.
    for (_, form) in forms(1 << 10) {
        response(&form);
    }
    for length in [1 << 14, 1 << 18] {
        for (shape, form) in forms(length) {
            assert!(form.len() <= MAX_BYTES && 2 * form.len() > length, "{shape}");
            let length = form.len() as u64;
            let [total, most, count] = heap(|| response(&form));
            assert!(total <= 64 * length + 65_536, "{shape}: {total} bytes for {length}");
            assert!(most <= 32 * length + 65_536, "{shape}: {most} bytes at once for {length}");
            assert!(count <= length / 4 + 200, "{shape}: {count} allocations for {length}");
        }
    }
}

#[test]
fn input_that_is_too_long_is_not_parsed() {
    let form = "%41=&".repeat(MAX_BYTES);
    let [total, ..] = heap(|| response(&form));
    assert!(total < 32_768, "{total}");
}

#[test]
fn memory_is_linear_in_a_marker_and_in_a_record() {
    drop("a".parse::<Marker>().unwrap());
    for length in [1 << 14, MAX_BYTES] {
        for marker in ["a", "\u{ff}", "\u{100}", "="].map(|text| text.repeat(length / text.len())) {
            let [total, ..] = heap(|| assert!(marker.parse::<Marker>().is_err()));
            assert!(total < 4096, "{total}");
        }
        let mut record = vec![1; length];
        let [total, ..] = heap(|| assert!(UserRecord::decode(&record).is_err()));
        assert!(total < 4096, "{total}");
        record.fill(0xff);
        let [total, ..] = heap(|| assert!(UserRecord::decode(&record).is_err()));
        assert!(total < 4096, "{total}");
    }
}

/// The shortest of several runs: other load on the machine only adds time.
fn shortest(form: &str) -> Duration {
    let time = || {
        let start = Instant::now();
        response(form);
        start.elapsed()
    };
    (0..3).map(|_| time()).min().unwrap()
}

/// If any step were quadratic, 16 times the bytes would take 256 times as long. The bound is far
/// from both 16 and 256, and a run above it is repeated: the test fails only if all runs are.
#[test]
fn time_is_linear_in_the_form() {
    const FEW: usize = 1 << 12;
    for ((shape, few), (_, many)) in forms(FEW).into_iter().zip(forms(16 * FEW)) {
        let within = |_| {
            let few = shortest(&few).max(Duration::from_micros(20));
            shortest(&many) < 80 * few
        };
        assert!((0..5).any(within), "{shape} takes more than linear time");
    }
}
