-- Deletes the budgets of a subject.
--
-- KEYS     one for each policy
-- Replies  nothing
redis.call('DEL', unpack(KEYS))
return reply()
