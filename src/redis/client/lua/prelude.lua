-- Comes before every script: refuses to run when its caller has given up.
-- ARGV[1]  the proof, ARGV[2] the last millisecond of this server's clock to run in, or 0 for no limit
-- Gives    `time`, as TIME returns it, and `reply`, which every script returns
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function reply(...)
  return { ARGV[1], now_ms, 'ran', ... }
end
local limit_ms = tonumber(ARGV[2])
if limit_ms > 0 and now_ms > limit_ms then
  return { ARGV[1], now_ms, 'late' }
end
