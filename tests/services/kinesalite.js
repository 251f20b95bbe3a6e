// Starts kinesalite on loopback: node kinesalite.js MODULES PORT
//
// Its own command line can neither choose the interface nor the keep-alive time. Node's 5 s would cut off a pooled connection
// under an idle test.
'use strict'

const KEEP_ALIVE_MS = 300_000
const SHARDS_MAX = 500

const [modules, port] = process.argv.slice(2)
const kinesalite = require(require('path').join(modules, 'kinesalite'))
const server = kinesalite({
  createStreamMs: 0,
  deleteStreamMs: 0,
  updateStreamMs: 0,
  shardLimit: SHARDS_MAX,
})
server.keepAliveTimeout = KEEP_ALIVE_MS
server.listen(Number(port), '127.0.0.1')
