-- Removes sessions that have ended from a user's index.
-- KEYS[1]  the user's index, as in enrol.lua
-- ARGV     from the third: the ids
-- Replies  how many were listed
local count = 0
for i = 3, #ARGV do
  count = count + redis.call('ZREM', KEYS[1], ARGV[i])
end
return reply(count)
