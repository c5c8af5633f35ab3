-- Right before the lab, for whom the gateway has let in; who came by token alone was let in at the threshold.
function envoy_on_request(handle)
  local headers = handle:headers()
  local lab, attempt = headers:get("x-lab-id"), headers:get("x-lab-attempt")
  headers:remove("x-lab-id")
  headers:remove("x-lab-attempt")
  if lab ~= nil and attempt ~= nil then
    headers:replace("x-lab-secret", secret_of(lab, attempt))
  end
  shed(headers)
end
