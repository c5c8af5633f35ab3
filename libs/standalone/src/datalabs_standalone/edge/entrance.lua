-- The entrance of every lab origin: nothing that a client sent may choose the way, and no foreign page may act.
local SCHEME = "@SCHEME@"
local SAFE = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("x-lab-upstream")
  headers:remove("x-lab-secret")
  headers:remove("x-lab-id")
  headers:remove("x-lab-attempt")
  headers:remove("authorization")
  local authority = headers:get(":authority")
  local upgrade = headers:get("upgrade") ~= nil
  if upgrade or not SAFE[headers:get(":method")] then
    local origin = headers:get("origin")
    if origin ~= SCHEME .. "://" .. authority and (upgrade or origin ~= nil) then
      handle:respond(
        { [":status"] = "403", ["content-type"] = "application/problem+json" },
        '{"type":"https://open-datalabs.org/problems/foreign_origin","title":"This request came from another site\'s page",'
          .. '"status":403,"code":"foreign_origin"}'
      )
      return
    end
  end
end
