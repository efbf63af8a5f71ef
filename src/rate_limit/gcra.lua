-- The generic cell rate algorithm: one string per subject, which holds the time when its debt is paid.
--
-- KEYS[1]  the debt of one subject under one policy: whole microseconds since 1970, and after a colon what is left
--          over in ticks, if anything
-- ARGV     from the third: ticks per permit, ticks per microsecond, ticks per full burst, cost in permits
-- Replies  1 if admitted or 0, the debt in ticks after that
--
-- Every number is a whole one below 2^53, so that doubles are exact. NOTE: gcra.rs is the same in Rust.
local permit, per_micro, capacity = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local cost = tonumber(ARGV[6])

local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'table' then
  -- Data of another type is not ours: it counts as nothing and is overwritten. Any other error is one.
  if not string.find(stored.err, '^%-?WRONGTYPE') then return stored end
  stored = ''
end
local micros, ticks = string.match(stored or '', '^(%d+):?(%d*)$')

local debt = 0
if micros and #micros <= 16 then
  -- A time further ahead than a full burst comes from a clock that was set back, or from a larger quota.
  ticks = math.min(tonumber(ticks) or 0, per_micro - 1)
  debt = math.max(0, math.min(capacity, (tonumber(micros) - now) * per_micro + ticks))
end

local after = debt + cost * permit
if after > capacity then return reply(0, debt) end
if cost > 0 then
  ticks = math.fmod(after, per_micro)
  local wait = (after - ticks) / per_micro
  -- `..` and tostring would round to 14 digits.
  local value = ticks == 0 and string.format('%.0f', now + wait) or string.format('%.0f:%.0f', now + wait, ticks)
  -- Until a whole millisecond that is not before the debt is paid: a key that goes early forgets some of it.
  redis.call('SET', KEYS[1], value, 'PXAT', math.floor((now + wait) / 1000) + 1)
end
return reply(1, after)
