-- Gives permits back to all policies of a subject.
--
-- KEYS     one for each policy
-- ARGV     from the third: the permits, two words that are not read; then five for each policy: its algorithm, the time
--          after which nothing is given back (0: no such time), and the algorithm's a, b, c
-- Replies  nothing
local permits = tonumber(ARGV[3])
for i = 1, #KEYS do
  local p, kind, over = policy(i)
  over = tonumber(over)
  if over == 0 or now < over then
    kind.look(p)
    kind.give(p, permits)
  end
end
return reply()
