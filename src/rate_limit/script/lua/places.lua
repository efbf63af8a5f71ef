-- Concurrency: a sorted set with a member for each request that has a place, scored by the time at which its lease ends if
-- it is not renewed. A request has one place, whatever it costs.
--
-- a, b, c  places, microseconds of a lease, the member: parts with colons between, the last the microseconds of the lease
-- level    places taken
--
-- The lease of a policy may change, so each member contains the length of its own. A lease that ends later than now plus
-- that length comes from a clock that was set back.
local function places_latest(p, member)
  return now + (tonumber(string.match(member, '^%x+:%x+:(%d+)$')) or p.b)
end

-- Removes the places whose leases have ended. Returns the time at which the last lease ends.
local function places_sweep(p)
  local last = select(2, sweep(p.key, now, math.huge))
  if last <= now + p.b then return last end
  last = 0
  local far = redis.call('ZRANGE', p.key, '(' .. text(now + p.b), '+inf', 'BYSCORE', 'WITHSCORES')
  for i = 1, #far, 2 do
    local at, latest = tonumber(far[i + 1]), places_latest(p, far[i])
    if at > latest then redis.call('ZADD', p.key, text(latest), far[i]) end
    last = math.max(last, math.min(at, latest))
  end
  return last
end

kinds.places = {
  look = function(p)
    p.last = places_sweep(p)
    p.used = redis.call('ZCARD', p.key)
    return p.used < p.a and math.huge or 0
  end,
  take = function(p)
    p.used, p.last = p.used + 1, math.max(p.last, now + p.b)
    redis.call('ZADD', p.key, text(now + p.b), p.c)
    redis.call('PEXPIREAT', p.key, until_ms(p.last))
  end,
  give = function(p)
    redis.call('ZREM', p.key, p.c)
  end,
  state = function(p)
    return p.used, 0, 0, 0
  end,
}
