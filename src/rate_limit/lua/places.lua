-- Concurrency: a sorted set of those who have a place, scored by when it is taken from them if they do not say that they
-- still need it. A request has one place, whatever it costs.
--
-- a, b, c  places, microseconds of a lease, who asks
-- level    places taken
kinds.places = {
  look = function(p)
    p.last = select(2, sweep(p.key, now, now + p.b))
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
