-- Adds a purge to the log; begins the log if there is none. Gives the id of the purge, the time, and the order before it.
-- KEYS[1] the log; ARGV[3] the order of the purge, ARGV[4] the order of the first record, ARGV[5] how many purges to keep,
-- ARGV[6] the expiry of the log, in milliseconds
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local epoch
if last then
  epoch = string.match(last[1], '^%d+')
else
  epoch = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('XADD', KEYS[1], epoch .. '-0', 'order', ARGV[4], 'at', now_ms)
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], epoch .. '-*', 'order', ARGV[3], 'at', now_ms)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return reply(id, now_ms, last and last[2][2] or ARGV[4])
