// SPDX-License-Identifier: Apache-2.0
// The peer protocol for gRPC: the generated service, with the key bytes wiped from each buffer of ours as soon as the next
// one has them. gRPC's own buffers cannot be reached.
import type { MultiTunnelRequest, MultiTunnelResponse } from '../../../proto/gen/psp_gateway.js';
import { PSP_GatewayService } from '../../../proto/gen/psp_gateway.js';

/** Wipes the keys of a request that will not be used any more. */
export function wipeRequest(request: MultiTunnelRequest): void {
  for (const { reverseParams } of request.tunnels) reverseParams?.encryptionKey.fill(0);
}

/** Wipes the keys of a response that will not be used any more. */
export function wipeResponse(response: MultiTunnelResponse): void {
  for (const { encryptionKey } of response.tunnelsParams) encryptionKey.fill(0);
}

const wipingSource =
  <T>(decode: (octets: Buffer) => T) =>
  (octets: Buffer): T => {
    try {
      return decode(octets);
    } finally {
      octets.fill(0);
    }
  };

const wipingMessage =
  <T>(encode: (message: T) => Buffer, wipe: (message: T) => void) =>
  (message: T): Buffer => {
    const octets = encode(message);
    wipe(message);
    return octets;
  };

const generated = PSP_GatewayService.requestMultipleTunnelParams;

/** The generated service; a message is sent once, and its keys are wiped then. */
export const peerProtocol = {
  ...PSP_GatewayService,
  requestMultipleTunnelParams: {
    ...generated,
    requestSerialize: wipingMessage(generated.requestSerialize, wipeRequest),
    requestDeserialize: wipingSource(generated.requestDeserialize),
    responseSerialize: wipingMessage(generated.responseSerialize, wipeResponse),
    responseDeserialize: wipingSource(generated.responseDeserialize),
  },
} as const;

/** Octets of the longest message of `maxTunnelsPerRequest` tunnels, rounded up. */
export const maxMessageLength = 512 * 1024;
