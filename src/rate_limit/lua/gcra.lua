-- The generic cell rate algorithm: a string that holds the time when the debt is paid, in whole microseconds, and after a
-- colon what is left over in ticks, if anything.
--
-- a, b, c  ticks per permit, ticks per microsecond, ticks per full burst
-- level    the debt in ticks; the times follow from it
--
-- NOTE: gcra.rs is the same in Rust.
kinds.gcra = {
  look = function(p)
    p.c = tonumber(p.c)
    local micros, ticks = string.match(read(p.key), '^(%d+):?(%d*)$')
    p.debt = 0
    if micros and #micros <= 16 then
      ticks = math.min(tonumber(ticks) or 0, p.b - 1)
      p.debt = math.max(0, (tonumber(micros) - now) * p.b + ticks)
      if p.debt > p.c then
        -- A time further ahead than a full burst comes from a clock that was set back, or from a larger quota.
        p.debt = p.c
        kinds.gcra.take(p, 0)
      end
    end
    return whole(p.c - p.debt, p.a)
  end,
  take = function(p, n)
    p.debt = p.debt + n * p.a
    local ticks = math.fmod(p.debt, p.b)
    local paid = now + (p.debt - ticks) / p.b
    local value = ticks == 0 and text(paid) or text(paid) .. ':' .. text(ticks)
    redis.call('SET', p.key, value, 'PXAT', until_ms(paid))
  end,
  give = function(p, n)
    p.debt = math.max(0, p.debt - n * p.a)
    kinds.gcra.take(p, 0)
  end,
  state = function(p)
    return p.debt, 0, 0, 0
  end,
}
