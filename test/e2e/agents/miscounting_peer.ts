// SPDX-License-Identifier: Apache-2.0
// A peer that miscounts. It listens in gateway b's place with b's certificate and returns valid parameters, but for
// more or fewer tunnels than requested. Arguments: folder of the certificates, listen address, difference. Prints
// "listening" once it listens, then a line per request with the number of requested tunnels and of returned ones.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import {
  type MultiTunnelRequest,
  type MultiTunnelResponse,
  PSP_GatewayService,
} from '../../../proto/gen/psp_gateway.js';

const [tls, listen, more] = process.argv.slice(2) as [string, string, string];
const read = (name: string) => readFileSync(join(tls, name));
let spi = 0x0bad_0000;

const parameters = () => ({
  macAddr: '02:00:00:00:00:02',
  ipAddr: '192.0.2.2',
  pspVersion: 1,
  spi: ++spi,
  encryptionKey: randomBytes(32),
  virtCookie: 0n,
  encapType: 4,
});

const server = new Server();
server.addService(PSP_GatewayService, {
  requestMultipleTunnelParams: (
    { request }: ServerUnaryCall<MultiTunnelRequest, MultiTunnelResponse>,
    answer: sendUnaryData<MultiTunnelResponse>,
  ) => {
    const asked = request.tunnels.length;
    const tunnelsParams = Array.from({ length: asked + Number(more) }, parameters);
    process.stdout.write(`asked for ${asked}, gave ${tunnelsParams.length}\n`);
    answer(null, { requestId: request.requestId, tunnelsParams } as MultiTunnelResponse);
  },
  requestKeyRotation: (_: unknown, answer: sendUnaryData<unknown>) => answer({ code: 12 }),
});
const pair = { private_key: read('node.key'), cert_chain: read('node.crt') };
server.bindAsync(listen, ServerCredentials.createSsl(read('ca.crt'), [pair], true), (error) => {
  if (error) throw error;
  process.stdout.write('listening\n');
});
