-- The exact sliding window: a sorted set with a member for each admitted request, scored by its time. A member is
-- `total:cost`: the permits used up to and including this request, in 16 digits, and the permits of this request. So
-- the permits in the window are the last total minus the total before the first member, and members of one time are in
-- order.
--
-- a, b     permits in a window, microseconds of a window
-- level    permits used
local function entry(p, rank)
  local found = redis.call('ZRANGE', p.key, rank, rank, 'WITHSCORES')
  local total, cost = string.match(found[1] or '', '^(%d+):(%d+)$')
  return { member = found[1], total = tonumber(total), cost = tonumber(cost), at = tonumber(found[2]) }
end

-- The time until so many of the permits have left the window.
local function log_free(p, permits)
  if permits <= p.first.cost then return p.first.at + p.b - now end
  local before, low, high = p.first.total - p.first.cost, 1, redis.call('ZCARD', p.key) - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if entry(p, middle).total - before >= permits then high = middle else low = middle + 1 end
  end
  return entry(p, low).at + p.b - now
end

kinds.log = {
  look = function(p)
    p.used, p.total = 0, 0
    local last, at = sweep(p.key, now - p.b, now)
    if last then
      p.first, p.last = entry(p, 0), at
      p.total = tonumber(string.match(last, '^(%d+):%d+$'))
      if p.first.total and p.total and p.total >= p.first.total then
        p.used = p.total - p.first.total + p.first.cost
      else
        redis.call('DEL', p.key)
        p.total = 0
      end
    end
    return math.max(0, p.a - p.used)
  end,
  take = function(p, n)
    p.used, p.total, p.last = p.used + n, p.total + n, now
    redis.call('ZADD', p.key, text(now), string.format('%016.0f:%.0f', p.total, n))
    redis.call('PEXPIREAT', p.key, until_ms(now + p.b))
    p.first = entry(p, 0)
  end,
  -- Takes from the oldest first, so the rest stays in the window as long as it can: a refund never admits too many.
  give = function(p, n)
    while n > 0 and p.used > 0 do
      local first = entry(p, 0)
      local some = math.min(n, first.cost)
      n, p.used = n - some, p.used - some
      -- Before the old member is removed: Redis deletes an empty key, and a new key would have no expiry.
      if some < first.cost then
        redis.call('ZADD', p.key, text(first.at), string.format('%016.0f:%.0f', first.total, first.cost - some))
      end
      redis.call('ZREM', p.key, first.member)
    end
  end,
  state = function(p, n)
    if p.used == 0 then return 0, n > p.a and -1 or 0, 0, 0 end
    local wait, following = 0, 0
    if n > p.a then
      wait = -1
    elseif p.used + n > p.a then
      wait = log_free(p, p.used + n - p.a)
    end
    if p.used >= p.a then following = log_free(p, p.used + 1 - p.a) end
    return p.used, wait, following, p.last + p.b - now
  end,
}
