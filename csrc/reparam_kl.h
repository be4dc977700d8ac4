// The mathematics of reparam_kl, once, for every device: one function a
// formula, one element at a time. The files beside this one loop over it.
// Equation numbers are those of lecture 04a.
//
//   z  = mu + std eps                                  std = exp(logvar / 2)
//   kl = 1/2 sum(mu^2 + exp(logvar) - 1 - logvar)      over the last dimension
//
// All of it is written in h = exp(logvar / 2) - 1, because
// exp(logvar) - 1 = h (h + 2) keeps the digits that the subtraction loses.
// This file knows nothing of torch. T is float or double.
#pragma once

#include <type_traits>

#include "exponential.h"

namespace {

// What numbers of type T are computed and summed in.
template <typename T>
using Accumulator =
    std::conditional_t<std::is_same_v<T, double>, double, float>;

// Eq. (4.9): z = mu + std eps
template <typename T>
AELAB_DEVICE T sample(T mu, const Exponential<T>& half, T eps) {
  return multiply_add(half.exp, eps, mu);
}

// One term of KL(N(mu, exp(logvar)) || N(0, 1)) in nats, Eq. (4.13):
// (mu^2 + exp(logvar) - 1 - logvar) / 2 = (mu^2 + h^2) / 2 + (h - logvar / 2),
// a sum of three parts none of which is negative.
template <typename T>
AELAB_DEVICE T kl_term(T mu, const Exponential<T>& half) {
  return multiply_add(mu, mu, half.minus_one * half.minus_one) / 2 +
         half.excess;
}

// Eq. (4.15), left: dL/dmu = dL/dz + dL/dkl mu
template <typename T>
AELAB_DEVICE T grad_mu(T grad_z, T grad_kl, T mu) {
  return multiply_add(grad_kl, mu, grad_z);
}

// Eq. (4.15), right:
// dL/dlogvar = dL/dz eps std / 2 + dL/dkl (exp(logvar) - 1) / 2
template <typename T>
AELAB_DEVICE T grad_logvar(T grad_z, T grad_kl, const Exponential<T>& half,
                           T eps) {
  return multiply_add(grad_z * eps, half.exp,
                      grad_kl * half.minus_one * (half.minus_one + 2)) /
         2;
}

}  // namespace
