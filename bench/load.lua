-- Sends the requests of a file one after the other, again and again, and prints what came of it in one line.
-- The file: for each request its length in decimal, a line feed, its bytes.
local requests, at = {}, 0

function init(args)
  local f = assert(io.open(args[1], "rb"))
  while true do
    local n = f:read("*n")
    if not n then break end
    f:read(1)
    requests[#requests + 1] = f:read(n)
  end
  f:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("load: %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
