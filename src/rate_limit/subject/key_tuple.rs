//! Several keys as one key.

use http::request::Parts;

use super::{
    identity::Identity,
    key::Key,
    lookup::Lookup,
    search::{Failure, Found, Search},
};

/// Several keys as one: two requests are one subject when all parts are equal. When a part is missing, the key is
/// missing; requests that then share a budget must still have the same other parts.
macro_rules! tuple {
    ($($key:ident),+) => {
        impl<$($key: Key),+> Key for ($($key,)+) {
            fn identity(&self, request: &Parts) -> Option<Identity> {
                #[allow(non_snake_case, reason = "each variable has the name of its type")]
                let ($($key,)+) = self;
                Some(Identity::all_of(&[$($key.identity(request)?),+]))
            }

            fn search(&self, request: &Parts) -> Option<Search> {
                #[allow(non_snake_case, reason = "each variable has the name of its type")]
                let ($($key,)+) = self;
                let parts = [$(Lookup::of($key, request)),+];
                let searches = parts.iter().any(|part| matches!(part, Lookup::Search(_)));
                searches.then(|| Search::of(all_of(parts.into())))
            }

            fn stand_in(&self, request: &Parts) -> Identity {
                #[allow(non_snake_case, reason = "each variable has the name of its type")]
                let ($($key,)+) = self;
                Identity::all_of(&[$($key.identity(request).unwrap_or_else(|| $key.stand_in(request))),+])
            }

            fn needs(&self) -> &str {
                "all parts of a key"
            }

            fn is_of_peer(&self) -> bool {
                #[allow(non_snake_case, reason = "each variable has the name of its type")]
                let ($($key,)+) = self;
                $($key.is_of_peer())||+
            }
        }
    };
}

/// Looks up the parts one after the other. When one part is missing, the whole key is missing.
async fn all_of(parts: Vec<Lookup>) -> Result<Found, Failure> {
    let mut identities = Vec::with_capacity(parts.len());
    let mut is_whole = true;
    for part in parts {
        let found = match part {
            Lookup::Known(found) => found,
            Lookup::Search(search) => search.found().await?,
        };
        is_whole &= matches!(found, Found::Identity(_));
        let (Found::Identity(identity) | Found::Missing(identity)) = found;
        identities.push(identity);
    }
    let identity = Identity::all_of(&identities);
    Ok(match is_whole {
        true => Found::Identity(identity),
        false => Found::Missing(identity),
    })
}

tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
