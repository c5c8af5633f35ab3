"""The pages of the dashboard by name; `lab` runs, `ended` does not, `trace` is the launch of `lab`."""

PLACES = {
    "catalogue": "/catalogue",
    "datalab": "/datalabs/jupyterlab",
    "labs": "/labs",
    "data": "/data",
    "usage": "/usage",
    "search": "/catalogue?q=earth",
    "nothing-found": "/catalogue?q=jupiterlab",
    "launch-link": "/launch/terminal?size=medium",
    "lab": "/labs/{lab}",
    "lab-ended": "/labs/{ended}",
    "collection": "/data/iers",
    "not-found": "/nowhere",
}
OPERATIONS = {
    "operations": "/operations",
    "events": "/operations/events",
    "traces": "/operations/traces",
    "trace": "/operations/traces/{trace}",
    "dead-letters": "/operations/dead-letters",
}
