use proptest::prelude::*;

use super::{super::keys::Peppers, super::token::Token, *};

const NOW: i64 = 1_700_000_000_000;

fn hashes(token: &Token) -> Hashes {
    Peppers::default().hashes(token)
}

fn stored(fields: &[(&str, &[u8])]) -> Stored {
    Stored {
        id: "id".into(),
        fields: fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Bytes::copy_from_slice(value)))
            .collect(),
    }
}

fn at(offset: i64) -> Vec<u8> {
    (NOW + offset).to_string().into_bytes()
}

fn judge(record: Stored, token: &Token) -> Result<Found, Error> {
    record.judge(&hashes(token), b"", NOW, &Settings::new())
}

fn due(fields: &[(&str, &[u8])], token: &Token, settings: &Settings) -> Due {
    match stored(fields).judge(&hashes(token), b"", NOW, settings) {
        Ok(Found::Live(_, due)) => due,
        _ => panic!("not live"),
    }
}

#[test]
fn the_hash_opens_the_record_and_reserved_fields_stay_inside() {
    let token = Token::generate().unwrap();
    let record = stored(&[
        ("!h", &token.hash()),
        ("!x", &at(1)),
        ("!u", b"alice"),
        ("!a", &at(-5)),
        ("!c", b"1"),
        ("cart", b"[1,2]"),
    ]);
    let Ok(Found::Live(record, _)) = judge(record, &token) else {
        panic!("not live");
    };
    assert_eq!(record.user(), Some("alice"));
    assert_eq!(record.auth_at(), Some(time(NOW - 5)));
    assert_eq!(record.get::<Vec<u8>>("cart").unwrap(), Some(vec![1, 2]));
    for key in ["!h", "!u", "!c", "!x"] {
        assert_eq!(record.stored(key), None, "{key}");
    }
    assert!(record.get::<String>("cart").unwrap_err().is_codec());
}

#[test]
fn past_its_end_it_is_unknown_and_with_another_secret_a_mismatch() {
    let (ours, other) = (Token::generate().unwrap(), Token::generate().unwrap());
    let ended = stored(&[("!h", &ours.hash()), ("!x", &at(0))]);
    assert!(matches!(judge(ended, &ours), Ok(Found::Unknown)));
    let foreign = stored(&[("!h", &ours.hash()), ("!x", &at(1))]);
    assert!(matches!(judge(foreign, &other), Ok(Found::Mismatch)));
    assert!(matches!(judge(stored(&[]), &ours), Ok(Found::Unknown)));
}

#[test]
fn the_previous_secret_is_stale_until_its_end_and_good_within_a_grace() {
    let (ours, old) = (Token::generate().unwrap(), Token::generate().unwrap());
    for (known, good, expected) in [
        (1, 1, "live"),
        (1, 0, "stale"),
        (0, 0, "mismatch"),
        (0, 1, "live"),
    ] {
        let record = stored(&[
            ("!h", &ours.hash()),
            ("!x", &at(9)),
            ("!p", &old.hash()),
            ("!g", &at(known)),
            ("!k", &at(good)),
        ]);
        let found = match judge(record, &old).unwrap() {
            Found::Live(..) => "live",
            Found::Stale => "stale",
            Found::Mismatch => "mismatch",
            Found::Unknown => "unknown",
        };
        assert_eq!(found, expected, "{known} {good}");
    }
}

#[test]
fn a_lineage_proved_before_opens_what_was_renewed_since() {
    let (ours, old) = (Token::generate().unwrap(), Token::generate().unwrap());
    let record = || stored(&[("!h", &ours.hash()), ("!x", &at(9)), ("!v", &old.lineage())]);
    let settings = Settings::new();
    let judge = |lineage: &[u8]| record().judge(&hashes(&old), lineage, NOW, &settings);
    assert!(matches!(judge(&old.lineage()), Ok(Found::Live(..))));
    assert!(matches!(judge(&ours.lineage()), Ok(Found::Mismatch)));
    assert!(matches!(judge(b""), Ok(Found::Mismatch)));
}

#[test]
fn foreign_data_is_corrupt() {
    let token = Token::generate().unwrap();
    for fields in [
        &[("a", &b"1"[..])][..],
        &[("!h", b"short"), ("!x", b"9999999999999")],
        &[("!h", &token.hash()), ("!x", b"soon")],
        &[("!h", &token.hash())],
    ] {
        let Err(error) = judge(stored(fields), &token) else {
            panic!("accepted");
        };
        assert!(error.is_corrupt());
    }
}

#[test]
fn use_is_noted_once_per_touch_interval() {
    let token = Token::generate().unwrap();
    let hash = token.hash();
    let mut settings = Settings::new();
    let mut touch = |idle: u64, seen: i64, more: Option<(&'static str, i64)>| {
        settings.idle = Duration::from_secs(idle);
        let seen = at(-seen);
        let more = more.map(|(name, value)| (name, value.to_string().into_bytes()));
        let mut fields: Vec<(&str, &[u8])> =
            vec![("!h", &hash), ("!x", b"9999999999999"), ("!s", &seen)];
        fields.extend(more.iter().map(|(name, value)| (*name, value.as_slice())));
        due(&fields, &token, &settings).touch
    };
    assert!(!touch(1800, 59_999, None));
    assert!(touch(1800, 60_000, None));
    // A short idle timeout has a shorter interval, also that of a session by itself.
    assert!(!touch(100, 9_999, None));
    assert!(touch(100, 10_000, None));
    assert!(!touch(100, 10_000, Some(("!i", 200_000))));
    // The first use of a renewed token.
    assert!(touch(1800, 0, Some(("!o", 1))));
}

#[test]
fn a_token_is_renewed_when_it_is_old_and_again_when_it_was_lost() {
    let (token, old) = (Token::generate().unwrap(), Token::generate().unwrap());
    let (hash, old_hash) = (token.hash(), old.hash());
    let mut settings = Settings::new();
    let fields = |issued: i64, good: i64| {
        vec![
            ("!h", hash.to_vec()),
            ("!x", b"9999999999999".to_vec()),
            ("!n", at(-issued)),
            ("!p", old_hash.to_vec()),
            ("!k", at(good)),
            ("!o", b"1".to_vec()),
        ]
    };
    let renewal = |fields: &[(&'static str, Vec<u8>)], token: &Token, settings: &Settings| {
        let fields: Vec<(&str, &[u8])> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        due(&fields, token, settings).renewal
    };
    assert!(!renewal(&fields(i64::MAX / 4, 1), &token, &settings));
    settings.renewal = Some(Duration::from_secs(60));
    assert!(!renewal(&fields(59_999, 1), &token, &settings));
    assert!(renewal(&fields(60_000, 1), &token, &settings));
    // The grace is 30 s: in its second half, the old token says that the new one never came.
    assert!(!renewal(&fields(0, 15_001), &old, &settings));
    assert!(renewal(&fields(0, 15_000), &old, &settings));
    let mut seen = fields(0, 1);
    seen.pop();
    assert!(!renewal(&seen, &old, &settings));
}

proptest! {
    #[test]
    fn nothing_stored_makes_it_panic(
        fields in proptest::collection::hash_map(
            prop_oneof!["![hpgxucaknosvi]", ".{0,4}"],
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                any::<i64>().prop_map(|number| number.to_string().into_bytes()),
                Just(Token::generate().unwrap().hash().to_vec()),
            ],
            0..12,
        ),
        now in 0..i64::MAX / 2,
    ) {
        let fields = fields.into_iter().map(|(key, value)| (key, value.into())).collect();
        let token = Token::generate().unwrap();
        let mut settings = Settings::new();
        settings.renewal = Some(Duration::from_secs(1));
        let _ = Stored { id: String::new(), fields, }.judge(&hashes(&token), b"", now, &settings);
    }

    #[test]
    fn any_time_is_one(unix_millis in any::<i64>()) {
        let _ = time(unix_millis);
    }
}
