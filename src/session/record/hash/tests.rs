use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::session::{
    credential::{holder::Holder, keys::Key, token::Token},
    record::{session_record::*, settings::Settings},
};

const NOW: i64 = 1_700_000_000_000;

fn stored(fields: &[(&str, &[u8])]) -> StoredHash {
    StoredHash {
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

fn judge(record: StoredHash, token: &Token) -> Result<Found, Error> {
    record.judge(&Holder::unproved(token.clone()), NOW, &Settings::new())
}

fn due(fields: &[(&str, &[u8])], token: &Token, settings: &Settings) -> Due {
    match stored(fields).judge(&Holder::unproved(token.clone()), NOW, settings) {
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
    let judge = |lineage: &[u8]| {
        let holder = Holder {
            lineage: Bytes::copy_from_slice(lineage),
            ..Holder::unproved(old.clone())
        };
        record().judge(&holder, NOW, &settings)
    };
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
        let _ = StoredHash { id: String::new(), fields, }.judge(&Holder::unproved(token), now, &settings);
    }

    #[test]
    fn any_time_is_one(unix_millis in any::<i64>()) {
        let _ = time(unix_millis);
    }
}

fn holder(token: &Token) -> Holder {
    Holder::unproved(token.clone())
}

/// The user of a session, or an error for a record of somebody else.
fn judge_user(
    fields: &[(&str, &[u8])],
    holder: &Holder,
    settings: &Settings,
) -> Result<Option<String>, ()> {
    let mut fields = fields.to_vec();
    let end = at(1);
    fields.push(("!x", &end));
    match stored(&fields).judge(holder, NOW, settings).unwrap() {
        Found::Live(record, _) => Ok(record.user().map(str::to_owned)),
        Found::Stale | Found::Unknown => panic!("another answer"),
        Found::Mismatch => Err(()),
    }
}

/// Whoever could write to Redis copied a hash, or the name of a user, into another record and was that user.
#[test]
fn with_a_pepper_a_record_is_one_id_s_one_secret_s_and_one_user_s() {
    let (ours, other) = (Token::generate().unwrap(), Token::generate().unwrap());
    for rotated in [false, true] {
        let mut settings = Settings::new();
        settings.peppers.push(Key::new(&[1; 32]));
        let made = settings.peppers.clone();
        if rotated {
            settings.peppers.insert_first(Key::new(&[2; 32]));
        }
        let judge =
            |fields: &[(&str, &[u8])], holder: &Holder| judge_user(fields, holder, &settings);
        let hash = made.hashes(&ours).first();
        let tag = made.tag(&ours, Some("alice"));
        let alice: &[(&str, &[u8])] = &[("!h", &hash), ("!u", b"alice"), ("!t", &tag)];
        assert_eq!(judge(alice, &holder(&ours)), Ok(Some("alice".to_owned())));
        assert_eq!(judge(&[("!h", &hash)], &holder(&ours)), Ok(None));
        // Another user, another tag, or none.
        let foreign = made.tag(&other, Some("root"));
        for (user, tag) in [
            (&b"root"[..], &tag[..]),
            (b"root", b""),
            (b"root", &foreign),
            (b"alice", &hash),
            (b"", &tag),
        ] {
            let forged: &[(&str, &[u8])] = &[("!h", &hash), ("!u", user), ("!t", tag)];
            assert_eq!(judge(forged, &holder(&ours)), Err(()));
        }
        assert_eq!(
            judge(&[("!h", &hash), ("!u", b"root")], &holder(&ours)),
            Err(())
        );
        // The hash of one's own session in the record of another id.
        let moved =
            Token::parse((ours.id()[..21].to_owned() + &other.cookie_value()[21..]).as_bytes());
        assert_eq!(
            judge(
                &[("!h", &made.hashes(&other).first())],
                &holder(&moved.unwrap())
            ),
            Err(())
        );
    }
}

#[test]
fn with_a_pepper_earlier_tokens_and_records_are_one_user_s() {
    let (ours, other) = (Token::generate().unwrap(), Token::generate().unwrap());
    for rotated in [false, true] {
        let mut settings = Settings::new();
        settings.peppers.push(Key::new(&[1; 32]));
        let made = settings.peppers.clone();
        if rotated {
            settings.peppers.insert_first(Key::new(&[2; 32]));
        }
        let judge =
            |fields: &[(&str, &[u8])], holder: &Holder| judge_user(fields, holder, &settings);
        let (hash, tag) = (made.hashes(&ours).first(), made.tag(&ours, Some("alice")));
        let foreign = made.tag(&other, Some("root"));
        // The token from before a renewal.
        let next = ours.renewed().unwrap();
        let (current, soon) = (made.hashes(&next).first(), at(1));
        for (tag, user) in [(&tag[..], true), (b"", false), (&foreign, false)] {
            let fields: &[(&str, &[u8])] = &[
                ("!h", &current),
                ("!p", &hash),
                ("!g", &soon),
                ("!k", &soon),
                ("!u", b"alice"),
                ("!q", tag),
            ];
            assert_eq!(judge(fields, &holder(&ours)).is_ok(), user);
        }
        // And for a request that is older than its token: whose the session is must have been seen.
        for (seen, user) in [(None, false), (Some("root"), false), (Some("alice"), true)] {
            let kin = Holder {
                lineage: ours.lineage(),
                user: seen.map(Into::into),
                ..holder(&other)
            };
            let lineage = ours.lineage();
            let fields: &[(&str, &[u8])] = &[("!h", &hash), ("!u", b"alice"), ("!v", &lineage)];
            assert_eq!(judge(fields, &kin).is_ok(), user);
        }
        // What earlier versions stored has no tag.
        let unbound = crate::session::credential::keys::mac(&[1; 32], &[ours.secret()]);
        let earlier: &[(&str, &[u8])] = &[("!h", &unbound), ("!u", b"alice")];
        assert_eq!(judge(earlier, &holder(&ours)), Ok(Some("alice".to_owned())));
    }
}
