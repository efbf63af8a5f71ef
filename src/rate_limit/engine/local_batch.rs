//! Permits that this process takes from Redis in advance.

use std::{
    mem, slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Mutex as AsyncMutex,
    task::AbortHandle,
    time::{self, Instant},
};

use super::{bounded_map::BoundedMap, denials::Denials, refunds::Refunds};
use crate::{
    error::{Error, Kind},
    rate_limit::{
        decision::decision::Decision,
        quota::claim::Claim,
        script::{call, check, grant::Ask},
        subject::identity::Identity,
    },
    redis::Redis,
};

/// The permits that this process holds of a bounded number of subjects.
#[derive(Debug)]
pub(crate) struct Batches {
    redis: Redis,
    refunds: Arc<Refunds>,
    most: u64,
    accounts: Mutex<BoundedMap<(Identity, u64), Arc<Account>>>,
}

/// What is held of one subject. What is left when it is dropped is given back.
#[derive(Debug)]
struct Account {
    redis: Redis,
    refunds: Arc<Refunds>,
    claim: Claim,
    stock: Mutex<Stock>,
    /// One request asks Redis, the others wait for what it brings.
    asking: AsyncMutex<()>,
}

#[derive(Debug)]
struct Stock {
    held: u64,
    /// How many to take at once: so many as are used before they are given back.
    batch: u64,
    /// What Redis said when it granted the last ones.
    granted: Option<Granted>,
}

#[derive(Debug)]
struct Granted {
    decision: Decision,
    at: Instant,
    runtime: Handle,
    giving_back: Option<AbortHandle>,
}

impl Batches {
    /// Takes up to `most` permits at once.
    pub(crate) fn new(redis: Redis, refunds: Arc<Refunds>, most: u64) -> Self {
        refunds.expect();
        Self {
            redis,
            refunds,
            most,
            accounts: Mutex::new(BoundedMap::new(ACCOUNTS)),
        }
    }

    /// Whether permits under these policies can be taken in advance.
    pub(crate) fn suits(claims: &[Claim]) -> bool {
        let plain = |claim: &Claim| {
            let mut policies = claim.policies.iter();
            policies.all(|policy| policy.quota().is_some() && !policy.is_shadow())
        };
        claims.len() == 1 && claims.iter().all(plain)
    }

    /// Decides by what is held, else by asking Redis for more. What that denies goes to `denials`.
    pub(crate) async fn take(
        &self,
        claim: &Claim,
        cost: u64,
        denials: Option<Arc<Denials>>,
    ) -> Result<Decision, Error> {
        let account = self.account(claim);
        if let Some(decision) = account.stock().spend(cost) {
            return Ok(decision);
        }
        let most = self.most;
        // A task of its own: a caller that goes away, or has waited for a deadline, leaves what it asked for to the others.
        let asking = tokio::spawn(async move { account.ask(cost, most, denials).await });
        let ended =
            |error| Error::new(Kind::Unavailable, "the runtime is shutting down").caused_by(error);
        let answered = async { asking.await.map_err(ended)? };
        self.redis.budget().limit(answered).await
    }

    /// Gives back what is held of one subject, or of all.
    pub(crate) async fn give_back(&self, claim: Option<&Claim>) -> Result<(), Error> {
        let accounts: Vec<Arc<Account>> = {
            let accounts = lock(&self.accounts);
            match claim {
                Some(claim) => accounts
                    .get(&claim.map_key())
                    .cloned()
                    .into_iter()
                    .collect(),
                None => accounts.values().cloned().collect(),
            }
        };
        for account in accounts {
            account.give_back().await?;
        }
        Ok(())
    }

    fn account(&self, claim: &Claim) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        let known = accounts.get(&claim.map_key()).cloned();
        let account = known.unwrap_or_else(|| Arc::new(Account::new(self, claim)));
        accounts.insert(claim.map_key(), Arc::clone(&account));
        account
    }
}

impl Account {
    fn new(batches: &Batches, claim: &Claim) -> Self {
        Self {
            redis: batches.redis.clone(),
            refunds: Arc::clone(&batches.refunds),
            claim: claim.clone(),
            stock: Mutex::new(Stock {
                held: 0,
                batch: 0,
                granted: None,
            }),
            asking: AsyncMutex::new(()),
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        lock(&self.stock)
    }

    /// Asks Redis for more, unless somebody else did meanwhile.
    async fn ask(
        self: Arc<Self>,
        cost: u64,
        most: u64,
        denials: Option<Arc<Denials>>,
    ) -> Result<Decision, Error> {
        let claims = slice::from_ref(&self.claim);
        let _asking = self.asking.lock().await;
        let known = denials
            .as_ref()
            .and_then(|denials| denials.find(claims, cost));
        if let Some(denial) = known {
            return Ok(denial);
        }
        let ask = {
            let mut stock = self.stock();
            if let Some(decision) = stock.spend(cost) {
                return Ok(decision);
            }
            // What is held is for those who need no more: they may spend it meanwhile.
            Ask {
                most: cost.max(stock.next_batch(most)),
                ..Ask::exactly(cost)
            }
        };
        let asked = denials.as_ref().map(|denials| denials.asked());
        let grant = check::decide(&self.redis, claims, ask).await?;
        if grant.decision.is_allowed() {
            return Ok(self.put(grant.decision, grant.permits.saturating_sub(ask.least)));
        }
        if let (Some(denials), Some(asked)) = (denials, asked) {
            denials.note(claims, cost, asked, &grant.decision);
        }
        Ok(grant.decision)
    }

    /// Keeps what was granted beyond what was asked for, and gives what is not spent back after a while.
    fn put(self: &Arc<Self>, decision: Decision, more: u64) -> Decision {
        let mut stock = self.stock();
        stock.held = stock.held.saturating_add(more);
        let told = decision.with_more(stock.held);
        let runtime = Handle::current();
        let later = give_back_later(Arc::downgrade(self));
        let giving_back = (stock.held > 0).then(|| runtime.spawn(later).abort_handle());
        let before = stock.granted.replace(Granted {
            decision,
            at: Instant::now(),
            runtime,
            giving_back,
        });
        if let Some(before) = before {
            before.stop();
        }
        told
    }

    async fn give_back(&self) -> Result<(), Error> {
        let (held, decision) = {
            let mut stock = self.stock();
            let Some(granted) = stock.granted.take() else {
                return Ok(());
            };
            granted.stop();
            // The next batch is for a subject that does not come as often.
            stock.batch /= 2;
            (mem::take(&mut stock.held), granted.decision)
        };
        if held == 0 {
            return Ok(());
        }
        let claims = slice::from_ref(&self.claim);
        let _guard = self.refunds.guard(claims);
        call::refund(&self.redis, claims, held, decision.standings()).await
    }
}

impl Stock {
    /// Decides by what is held, if that is enough.
    fn spend(&mut self, cost: u64) -> Option<Decision> {
        let granted = self.granted.as_ref()?;
        self.held = self.held.checked_sub(cost)?;
        Some(granted.decision.with_more(self.held))
    }

    /// Twice as many as the last time if those were used up soon, else half.
    fn next_batch(&mut self, most: u64) -> u64 {
        let batch = match &self.granted {
            Some(granted) if granted.at.elapsed() < HOLD => self.batch.saturating_mul(2),
            Some(_) => self.batch / 2,
            None => self.batch,
        };
        self.batch = batch.clamp(1, most);
        self.batch
    }
}

impl Granted {
    /// What is held is not given back by itself any more.
    fn stop(&self) {
        if let Some(giving_back) = &self.giving_back {
            giving_back.abort();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let stock = self.stock.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(granted) = stock.granted.take() else {
            return;
        };
        granted.stop();
        let (redis, claim, held) = (self.redis.clone(), self.claim.clone(), stock.held);
        let refunds = Arc::clone(&self.refunds);
        if held > 0 {
            granted.runtime.spawn(async move {
                let (claims, standings) = (slice::from_ref(&claim), granted.decision.standings());
                let _guard = refunds.guard(claims);
                // Without an answer they are back when their time is over.
                let _ = call::refund(&redis, claims, held, standings).await;
            });
        }
    }
}

async fn give_back_later(account: Weak<Account>) {
    time::sleep(HOLD).await;
    if let Some(account) = account.upgrade() {
        // Without an answer they are back when their time is over.
        let _ = account.give_back().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long permits are held before the rest is given back.
const HOLD: Duration = Duration::from_secs(1);

/// How many subjects are known at most.
const ACCOUNTS: usize = 65_536;
