-- Stands before every script: ends it here when its time limit is over, since its caller was told that it failed.
-- ARGV[1]  the proof, which the reply repeats; ARGV[2] the limit: a Unix time in ms on this server's clock, or 0 for none
-- Defines  `time`, as TIME returns it, `now_ms`, `limit_ms`, and `reply`, with which every script returns
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function reply(...)
  return { ARGV[1], now_ms, 'ran', ... }
end
local limit_ms = tonumber(ARGV[2])
if limit_ms > 0 and now_ms > limit_ms then
  return { ARGV[1], now_ms, 'late' }
end
