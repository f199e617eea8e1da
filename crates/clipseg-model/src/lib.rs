//! CLIPSeg and its decoders on Burn: a picture and a phrase in, a mask out.

#![deny(missing_docs)]
