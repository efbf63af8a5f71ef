-- Ends a session, whoever holds it.
-- KEYS[1]  the record
-- ARGV     third: the user whose session it must be, or '' for anybody's
-- Replies  done, or gone: there is none, or it is not this user's
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], '!u') ~= ARGV[3] then
  return reply('gone')
end
tell_ended()
return reply(redis.call('DEL', KEYS[1]) == 1 and 'done' or 'gone')
