//! The tokens of the records that the purge log has: they tell whether the record that an entry was made after was lost.

use std::collections::VecDeque;

use crate::store::entry::log_position::Token;

/// The tokens of the last records, whose counts are consecutive. The first half of each token is kept.
#[derive(Debug)]
pub(crate) struct Tokens {
    most: usize,
    first: u64,
    tokens: VecDeque<[u8; 4]>,
}

impl Tokens {
    /// Keeps the tokens of up to `most` records.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            first: 0,
            tokens: VecDeque::new(),
        }
    }

    /// Adds the token of a record. A record that does not follow the last one replaces all that were known.
    pub(crate) fn push(&mut self, count: u64, token: Token) {
        if self.first.checked_add(self.tokens.len() as u64) != Some(count) {
            self.tokens.clear();
        }
        if self.tokens.is_empty() {
            self.first = count;
        }
        if self.tokens.len() >= self.most {
            self.tokens.pop_front();
            self.first += 1;
        }
        self.tokens.push_back(half(token));
    }

    /// Whether the record with this count is known, and has this token.
    pub(crate) fn has(&self, count: u64, token: Token) -> bool {
        let place = count.checked_sub(self.first).map(usize::try_from);
        let found = place.and_then(|place| self.tokens.get(place.ok()?));
        found == Some(&half(token))
    }
}

fn half([a, b, c, d, ..]: Token) -> [u8; 4] {
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64) -> Token {
        (number + 1).to_le_bytes()
    }

    #[test]
    fn it_knows_the_last_records_and_no_others() {
        let mut tokens = Tokens::new(3);
        for count in 5..10 {
            tokens.push(count, token(count));
        }
        for count in 0..20 {
            assert_eq!(tokens.has(count, token(count)), (7..10).contains(&count));
            assert!(!tokens.has(count, token(count + 1)), "{count}");
        }
    }

    #[test]
    fn what_is_before_a_gap_is_not_known() {
        let mut tokens = Tokens::new(10);
        for count in [1, 2, 4, 5] {
            tokens.push(count, token(count));
        }
        for count in 0..10 {
            assert_eq!(tokens.has(count, token(count)), (4..6).contains(&count));
        }
        tokens.push(u64::MAX, token(0));
        assert!(tokens.has(u64::MAX, token(0)));
        tokens.push(3, token(3));
        assert!(tokens.has(3, token(3)) && !tokens.has(u64::MAX, token(0)));
    }
}
