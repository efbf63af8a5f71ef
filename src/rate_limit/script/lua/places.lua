-- Concurrency: a sorted set of those who have a place, scored by when it is taken from them if they do not say that they
-- still need it. A request has one place, whatever it costs.
--
-- a, b, c  places, microseconds of a lease, who asks: words with colons between, the last the microseconds of the lease
-- level    places taken
--
-- One name may have had another lease, so each member says how long its own is: a place that ends later than that comes
-- from a clock that was set back.
local function places_latest(p, member)
  return now + (tonumber(string.match(member, '^%x+:%x+:(%d+)$')) or p.b)
end

-- Lets go of the places that are over. Gives when the last one is.
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
