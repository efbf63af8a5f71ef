-- Ends a session without its token.
-- KEYS[1]  the record
-- ARGV     third: the user whose session it must be, or '' for any; fourth: when its login must have been listed, or ''
-- Replies  done and the user or ''; or gone: there is none, or it is not this one
local stored = redis.call('HMGET', KEYS[1], '!u', '!r', '!a')
if ARGV[3] ~= '' and stored[1] ~= ARGV[3] then
  return reply('gone')
end
if ARGV[4] ~= '' and (stored[2] or stored[3] or '0') ~= ARGV[4] then
  return reply('gone')
end
if redis.call('DEL', KEYS[1]) == 0 then
  return reply('gone')
end
tell_ended()
return reply('done', stored[1] or '')
