-- The text is the member.
local key, member = KEYS[1], string.sub(argument, 49)
local swept = redis.pcall('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
if type(swept) == 'number' then
  local used = redis.call('ZCARD', key)
  local ends = now + b
  if used == 0 or tonumber(redis.call('ZRANGE', key, '-1', '-1', 'WITHSCORES')[2]) <= ends then
    if used >= a then return string.sub(argument, 1, 8) .. struct.pack('<dd', now, -1 - used) end
    redis.call('ZADD', key, string.format('%.0f', ends), member)
    redis.call('PEXPIREAT', key, (ends - ends % 1000) / 1000 + 1)
    return string.sub(argument, 1, 8) .. struct.pack('<dd', now, used + 1)
  end
end
