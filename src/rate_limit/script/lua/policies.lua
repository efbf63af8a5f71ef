-- Comes before the algorithms, after the prelude: what they share.
--
-- A policy is a table with `key`, the three arguments `a`, `b`, `c`, and what its algorithm keeps there. An algorithm is
-- a table of functions in `kinds`:
--
-- look(p)        reads what is stored; gives how many permits fit now. What comes from a clock that was set back since is
--                stored anew as of now, or it would count until the clock is there again
-- take(p, n)     stores that n permits were used, which fit
-- give(p, n)     stores that n permits were not used after all
-- state(p, n)    the level in its own measure; microseconds until n permits fit (-1: never), until one more than now fits
--                (0: it does), until all are back
--
-- Times are microseconds since 1970 on this server's clock. Every number is a whole one below 2^53, so that doubles are
-- exact; `..` and tostring would round them to 14 digits.
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kinds = {}

local function text(number)
  return string.format('%.0f', number)
end

-- What whole number of `unit` is in `number`; division alone may round up.
local function whole(number, unit)
  return (number - math.fmod(number, unit)) / unit
end

-- Until a whole millisecond that is not before `micros`: a key that goes early forgets some of its policy.
local function until_ms(micros)
  return text(math.floor(micros / 1000) + 1)
end

-- Data of another type is not ours: it counts as nothing and is overwritten. Any other error is one.
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

-- Lets go of the members of a sorted set up to `dead`; one later than `latest` comes from a clock that was set back, and
-- is moved there. Gives the last member and its score, if there is any.
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
  -- With all the fields that it will have: a table that grows costs more than the rest.
  local p = { key = KEYS[i], kind = kind, room = 0, used = 0, mark = false, a = tonumber(ARGV[at + 2]),
    b = tonumber(ARGV[at + 3]), c = ARGV[at + 4] }
  return p, kind, ARGV[at + 1]
end
