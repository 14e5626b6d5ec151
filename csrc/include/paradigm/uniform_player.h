// A player that draws uniformly from the legal actions of any environment that lists them.
#pragma once

#include <stdexcept>

#include "paradigm/environment.h"
#include "paradigm/split_mix.h"

namespace paradigm {

class UniformPlayer final : public Player {
  public:
    std::vector<int32_t> act(const Environment&, const Observation& observation, uint64_t seed) const override {
        if (observation.legal == nullptr) throw std::invalid_argument("the uniform player needs an observation that lists legal actions");
        // The tokens heard enter the hash, so that one seed may serve every decision of an episode.
        SplitMix64 random(seed);
        uint64_t hash = random.next();
        for (const int32_t token : observation.tokens) hash = mix64(hash ^ static_cast<uint32_t>(token));
        return (*observation.legal)[SplitMix64(hash).below(static_cast<uint32_t>(observation.legal->size()))];
    }
};

}  // namespace paradigm
