-- No text.
local first, last = redis.pcall('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES'), nil
if not first.err and first[1] then
  if tonumber(first[2]) <= now - b then
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - b))
    first = redis.call('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES')
  end
  if first[1] then last = redis.call('ZRANGE', KEYS[1], '-1', '-1', 'WITHSCORES') end
end
local used, total, own, latest_at = 0, 0, 0, now
if first.err then
  used = nil
elseif last then
  local before = tonumber(string.sub(first[1], 1, 16))
  own, total = tonumber(string.sub(first[1], 18)), tonumber(string.sub(last[1], 1, 16))
  latest_at = tonumber(last[2])
  used = before and own and total and total >= before and latest_at <= now and total - before + own or nil
end
-- With the oldest request alone enough permits come back, or the rest of the script looks for more.
if used and (used + cost <= a or cost > a and used <= a or used <= a and used + cost - a <= own) then
  local level, wait = -1 - used, 0
  local oldest = first[2] and tonumber(first[2]) or now
  if used + cost <= a then
    used, total, latest_at = used + cost, total + cost, now
    level = used
    redis.call('ZADD', KEYS[1], string.format('%.0f', now), string.format('%016.0f:%.0f', total, cost))
    local ends = now + b
    redis.call('PEXPIREAT', KEYS[1], (ends - ends % 1000) / 1000 + 1)
  elseif cost > a then
    wait = -1
  else
    wait = oldest + b - now
  end
  local following, reset = used >= a and oldest + b - now or 0, used > 0 and latest_at + b - now or 0
  return string.sub(argument, 1, 8) .. struct.pack('<ddddd', now, level, wait, following, reset)
end
