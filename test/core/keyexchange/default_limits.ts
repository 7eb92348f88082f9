// SPDX-License-Identifier: Apache-2.0
// The limits of an identity in a node file that does not set them.
import type { IdentityLimits } from '../../../services/keyexchange/core/rules.js';
import { schema } from '../../../services/shared/config/schema.js';

export const defaultLimits: IdentityLimits = schema.shape.keyExchange.shape.limits.parse(undefined);
