-- What the algorithms share. It comes after the prelude and before the algorithms.
--
-- A policy is a table with `key`, the three arguments `a`, `b`, `c`, and fields that its algorithm adds. An algorithm is
-- a table of functions in `kinds`:
--
-- look(p)        reads what is stored; returns how many permits fit now. A value from before the clock was set back is
--                stored again as of now; otherwise it would count until the clock reaches its time again
-- take(p, n)     stores that n permits were used; the caller has checked that they fit
-- give(p, n)     stores that n permits were not used after all
-- state(p, n)    the level in its own unit; microseconds until n permits fit (-1: never), until one permit fits (0: it fits
--                now), until all are back
--
-- Times are microseconds since 1970 by this server's clock. Every number is whole and below 2^53, so doubles are exact;
-- `..` and tostring would round them to 14 digits.
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kinds = {}

local function text(number)
  return string.format('%.0f', number)
end

-- How many whole `unit`s are in `number`; a plain division may round up.
local function whole(number, unit)
  return (number - math.fmod(number, unit)) / unit
end

-- The expiry of a key, in milliseconds: never before `micros`, as a key that expires early loses permits that still count.
local function until_ms(micros)
  return text(math.floor(micros / 1000) + 1)
end

-- Whether the key holds a value of another type, which counts as empty and is overwritten. Other errors are raised.
local function foreign(answer)
  if type(answer) ~= 'table' or not answer.err then return false end
  if not string.find(answer.err, '^%-?WRONGTYPE') then error(answer) end
  return true
end

local function read(key)
  local stored = redis.pcall('GET', key)
  if not stored or foreign(stored) then return '' end
  return stored
end

-- Removes the members of a sorted set with scores up to `dead`. A score above `latest` comes from a clock that was set
-- back, and becomes `latest`. Returns the last member and its score, if there is one.
local function sweep(key, dead, latest)
  if foreign(redis.pcall('ZREMRANGEBYSCORE', key, '-inf', text(dead))) then
    redis.call('DEL', key)
    return nil, 0
  end
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  if not last[1] or tonumber(last[2]) <= latest then return last[1], tonumber(last[2] or 0) end
  for _, member in ipairs(redis.call('ZRANGE', key, '(' .. text(latest), '+inf', 'BYSCORE')) do
    redis.call('ZADD', key, text(latest), member)
  end
  return redis.call('ZRANGE', key, -1, -1)[1], latest
end

local function policy(i)
  local at = 1 + 5 * i
  local kind = kinds[ARGV[at]]
  -- With all the fields from the start: growing the table later would cost more than all else.
  local p = { key = KEYS[i], kind = kind, room = 0, used = 0, mark = false, a = tonumber(ARGV[at + 2]),
    b = tonumber(ARGV[at + 3]), c = ARGV[at + 4] }
  return p, kind, ARGV[at + 1]
end
