-- Ends a session that its caller still holds.
-- ARGV     those of guard.lua
-- Replies  as guard.lua, or done and the user or ''
redis.call('DEL', KEYS[1])
tell_ended()
return reply('done', stored[8] or '')
