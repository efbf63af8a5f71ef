-- The sliding window in constant memory: a string with the permits used in each of the last 61 sub-windows, of which 60
-- make a window. A permit counts until its whole sub-window has left the window, so no window has more than the quota.
--
-- The string is, big-endian: the number of the newest sub-window, the length of one, and the sum of the counts as doubles;
-- then 61 counts as 32 bits, newest first.
--
-- a, b     permits in a window, microseconds of a sub-window
-- level    permits used
local RING = 60
local RING_FORMAT = '>dddI4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4'
local RING_BYTES = 24 + 4 * (RING + 1)

-- The time until so many of the permits have left the window.
local function ring_free(p, permits)
  for age = RING, 0, -1 do
    permits = permits - p.counts[age]
    if permits <= 0 then return (p.head - age + RING + 1) * p.b - now end
  end
  return p.b * (RING + 1)
end

local function ring_store(p)
  local value = struct.pack(RING_FORMAT, p.head, p.b, p.used, unpack(p.counts, 0, RING))
  redis.call('SET', p.key, value, 'PXAT', until_ms((p.head + RING + 1) * p.b))
end

kinds.ring = {
  look = function(p)
    p.head, p.counts, p.used = whole(now, p.b), {}, 0
    for age = 0, RING do p.counts[age] = 0 end
    local stored = read(p.key)
    if #stored == RING_BYTES then
      local values = { struct.unpack(RING_FORMAT, stored) }
      local shift = p.head - values[1]
      -- A value of another window length, or from before the clock was set back: all of it counts as of now.
      local same = values[2] == p.b and shift >= 0
      for age = 0, RING do
        local place = same and age + shift or (values[1] - age + RING + 1) * values[2] > now and 0 or -1
        if p.counts[place] then
          p.counts[place] = math.min(4294967295, p.counts[place] + values[4 + age])
        end
      end
      for age = 0, RING do p.used = p.used + p.counts[age] end
      -- Such a value is only stored again if it would otherwise count for longer than a permit that is used now.
      if not same and (values[1] + RING + 1) * values[2] > (p.head + RING + 1) * p.b then ring_store(p) end
    end
    return math.max(0, p.a - p.used)
  end,
  take = function(p, n)
    p.counts[0], p.used = p.counts[0] + n, p.used + n
    ring_store(p)
  end,
  -- Takes from the oldest first, so the rest stays in the window as long as it can: a refund never admits too many.
  give = function(p, n)
    for age = RING, 0, -1 do
      local some = math.min(n, p.counts[age])
      n, p.used, p.counts[age] = n - some, p.used - some, p.counts[age] - some
    end
    ring_store(p)
  end,
  state = function(p, n)
    local wait, following, reset = 0, 0, 0
    if n > p.a then
      wait = -1
    elseif p.used + n > p.a then
      wait = ring_free(p, p.used + n - p.a)
    end
    if p.used >= p.a then following = ring_free(p, p.used + 1 - p.a) end
    if p.used > 0 then reset = ring_free(p, p.used) end
    return p.used, wait, following, reset
  end,
}
