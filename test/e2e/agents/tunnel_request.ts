// SPDX-License-Identifier: Apache-2.0
// How agents request a tunnel from a gateway as its peer does: one request of proto/psp_gateway.proto over mutual
// TLS, with an offer for the reverse direction.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import {
  type MultiTunnelResponse,
  PSP_GatewayClient,
  type TunnelParameters,
} from '../../../proto/gen/psp_gateway.js';

export interface TunnelRequest {
  /** Folder with the certificates of the requesting peer. */
  tls: string;
  /** Listen address of the gateway. */
  endpoint: string;
  version: number;
  /** Inner addresses: behind the requesting peer, behind the gateway. */
  source: string;
  destination: string;
  /** The offer for the reverse direction, to this outer address on the wire. */
  address: string;
  mac: string;
  spi: number;
  key: Buffer;
}

export const requestId = 42n;

/**
 * @returns the gateway's offer.
 */
export async function requestTunnel(
  asked: TunnelRequest,
): Promise<{ requestId: bigint; given: TunnelParameters }> {
  const read = (name: string) => readFileSync(join(asked.tls, name));
  const channel = credentials.createSsl(read('ca.crt'), read('node.key'), read('node.crt'), {
    checkServerIdentity: () => undefined,
  });
  const client = new PSP_GatewayClient(asked.endpoint, channel);
  const request = {
    requestId,
    pspVersionsAccepted: [asked.version],
    tunnels: [
      {
        virtSrcIp: asked.source,
        virtDstIp: asked.destination,
        innerType: 4,
        reverseParams: {
          macAddr: asked.mac,
          ipAddr: asked.address,
          pspVersion: asked.version,
          spi: asked.spi,
          encryptionKey: asked.key,
          virtCookie: 0n,
          encapType: 4,
        },
      },
    ],
  };
  const response = await new Promise<MultiTunnelResponse>((resolve, reject) => {
    client.requestMultipleTunnelParams(
      request as Parameters<typeof client.requestMultipleTunnelParams>[0],
      (error, answer) => (error ? reject(error) : resolve(answer)),
    );
  });
  client.close();
  const [given] = response.tunnelsParams;
  if (given === undefined) throw new Error('no parameters were given');
  return { requestId: response.requestId, given };
}
