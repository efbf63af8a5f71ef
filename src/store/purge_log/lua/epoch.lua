-- Begins the log, or a new epoch of it when records were lost, unless another process has done so.
-- KEYS[1] the log; ARGV[3] the epoch to end, '' when there was no log; ARGV[4] the order of the first record,
-- ARGV[5] the expiry of the log, in milliseconds
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local found = last and string.match(last[1], '^%d+') or ''
if found == ARGV[3] then
  local epoch = math.max(time[1] * 1000000 + time[2], (tonumber(found) or 0) + 1)
  redis.call('XADD', KEYS[1], string.format('%.0f-0', epoch), 'order', ARGV[4], 'at', now_ms)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return reply()
