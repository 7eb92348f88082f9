// SPDX-License-Identifier: Apache-2.0
// How agents ask a gateway for a tunnel as its peer does: one request of proto/psp_gateway.proto over mutual TLS,
// with an offer for the way back.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import {
  type MultiTunnelResponse,
  PSP_GatewayClient,
  type TunnelParameters,
} from '../../../proto/gen/psp_gateway.js';

export interface TunnelRequest {
  /** Folder of the certificates of the peer that asks. */
  tls: string;
  /** Where the gateway that is asked listens. */
  endpoint: string;
  version: number;
  /** Inner addresses: behind the peer that asks, behind the gateway. */
  source: string;
  destination: string;
  /** The offer for the way back, which leads to this outer address of the wire. */
  address: string;
  mac: string;
  spi: number;
  key: Buffer;
}

export const requestId = 42n;

/** @returns what the gateway gives for the way to it. */
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
