// A Kinesis emulator that has its stream when it is asked the first time: PORT, STREAM, SHARDS and HOST from the environment.
'use strict'

const http = require('http')
const kinesalite = require('kinesalite')

const { PORT, STREAM, SHARDS, HOST = '0.0.0.0' } = process.env
const server = kinesalite({ createStreamMs: 0, shardLimit: 500 })
server.keepAliveTimeout = 300_000 // Node's 5 s would cut off pooled connections
server.listen(Number(PORT), HOST, () => {
  const request = http.request({ port: Number(PORT), method: 'POST', headers: {
    'Content-Type': 'application/x-amz-json-1.1',
    'X-Amz-Target': 'Kinesis_20131202.CreateStream',
    'X-Amz-Date': '20200101T000000Z',
    Authorization: 'AWS4-HMAC-SHA256 Credential=local/20200101/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=0',
  } }, answer => {
    console.log(`stream ${STREAM}, ${SHARDS} shards: ${answer.statusCode}`)
    answer.resume()
  })
  request.end(JSON.stringify({ StreamName: STREAM, ShardCount: Number(SHARDS) }))
})
process.on('SIGTERM', () => process.exit(0))
