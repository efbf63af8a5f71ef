-- Begins the scripts that take permits under one policy. Their one argument is binary, and so is their reply: both cost
-- the server less than lists of words.
--
-- KEYS[1]  the budget
-- ARGV[1]  the proof, in 8 bytes; then doubles: the last microsecond at which the script may run, the permits asked for,
--          the algorithm's a, b, c; then text that the algorithm needs
-- Replies  the proof and the time in microseconds as a double, and nothing else if the script ran too late; then doubles:
--          the level if the permits were taken, else -1 less the level, and the times that the algorithm's `state` returns.
--          With all times zero they are left out
--
-- The first part of each script is for what is stored nearly always, in one run without functions of its own. The rest
-- is for values of other numbers, of other types, and from before the clock was set back: it is what `decide.lua` does.
local argument = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local latest, cost, a, b, c = struct.unpack('<ddddd', argument, 9)
if now > latest then return string.sub(argument, 1, 8) .. struct.pack('<d', now) end
