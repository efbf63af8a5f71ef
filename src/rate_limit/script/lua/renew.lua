-- Renews the lease of a request under all its concurrency policies.
--
-- KEYS     one for each policy
-- ARGV     as for a decision; the first three are not read
-- Replies  nothing
for i = 1, #KEYS do
  if ARGV[1 + 5 * i] == 'places' then
    local p = policy(i)
    redis.call('ZADD', p.key, 'XX', 'GT', text(now + p.b), p.c)
    redis.call('PEXPIREAT', p.key, until_ms(now + p.b), 'GT')
  end
end
return reply()
