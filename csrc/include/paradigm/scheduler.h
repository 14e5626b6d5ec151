// Continuous batching of episodes over the cache slots of one or more policies.
//
// One driving thread calls plan(), runs the policy on the planned tokens, draws a token for each sampling row, and hands them back by
// commit(); environments and players run on a thread pool meanwhile. A seat's tokens are fed only when that seat is asked to act.
// Results do not depend on slots, threads, the cache's size or the order in which environments answer: an episode's course is a function of
// its index, its task, the key and the tokens that it is given.
//
// Memory. A sequence takes blocks of its policy's cache as its tokens need them. Sequences that begin with the same prompt share its whole
// blocks: one computes them, and others that want them in the same step wait for the next one. The rest of the prompt, but for its last token,
// they take over from one that has been fed it, whose last block they share as forks do (below). Where a plan feeds one of them the prompt's end,
// those with the same prompt ride along: they are fed nothing, and draw their first token from its row. When blocks run out, sequences are
// planned oldest first, by the index of their episode; one that finds no free block takes those of the youngest, which is fed again later
// from its first token that no other sequence's blocks hold. The oldest that is ready may take from all others, so it is in every such
// plan; and a trajectory of the greatest length fits an otherwise empty cache. Blocks are taken back only once no plan that could write them is
// out.
//
// Overlap. While a plan is out, plan_ahead() makes the next one, from lengths alone: it feeds a free sequence, whose token is being drawn, that
// token by its place among the draws (Plan::source). Gated ones, whose next step depends on the token's value (legal tokens, a grammar,
// a forced token, a question) or is not to come (the limit of the action or stream), wait for the commit. While blocks are scarce, a plan
// ahead only decodes, if there are blocks for all who do and none of the others could have begun by now; it evicts nobody. Where a free
// sequence stops after all, its token in the plan ahead is over-run: what is drawn for it is dropped at that plan's commit, and until then it
// keeps slot and blocks. If it goes on behind what its environment says, the place is written again. Plans run in the order in which they
// are made. What others do to sequences (cancel, open, fork, ask, release) waits until no plan is out.
//
// Requests. Besides the tasks that it begins with, a scheduler takes single episodes while others run (submit), and gives them up again (cancel);
// both from any thread. They start in the order in which they came.
//
// Sequences. Tokens that belong to no episode are opened, or forked from another sequence or an episode's seat, whose blocks they share, the
// last one included; whoever writes there first gets a copy of it (take_swaps). Append, sample, score and evaluate are asked of them from any
// thread, and what is fed for it takes its place in the plans beside the episodes. Each keeps a slot until it is released; one that waits for
// the next question loses its blocks to others as an episode whose environment is at work does.
//
// Weights. They change between a commit and the next plan (set_version). Live sequences are then fed again from their first token, or keep
// what they have in the cache. A sequence that kept some cannot be fed again, since the weights that made it are gone: when it loses its blocks
// they are copied out and later copied back (take_swaps).
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "paradigm/block_table.h"
#include "paradigm/episode.h"
#include "paradigm/request.h"
#include "paradigm/sequence.h"
#include "paradigm/stream_events.h"
#include "paradigm/thread_pool.h"
#include "paradigm/trajectory_buffer.h"

namespace paradigm {

struct PolicyLimits {
    int32_t slots = 1;            // greatest number of live sequences
    int32_t max_step_tokens = 1;  // greatest number of tokens in one plan
    int32_t num_blocks = 0;       // of the cache, the null block included; 0: the policy has no cache
    int32_t block_size = 16;
};

// The tokens that a policy is to be fed, in arrays that live as long as the scheduler.
// T tokens, B sequences, R rows to sample; the arrays hold as many as the policy's limits allow.
struct Plan {
    int32_t num_tokens = 0, num_sequences = 0, num_samples = 0;
    int32_t num_riding = 0;                       // sampling rows of sequences that are fed nothing, but draw from where another does
    std::vector<int32_t> tokens, positions;       // [T]
    std::vector<int32_t> source;                  // [T] sampling row of the plan before, whose draw is the token; -1: it is in `tokens`
    std::vector<int32_t> cu_seqlens;              // [B + 1]
    std::vector<int32_t> context_lengths, slots;  // [B] tokens in the cache once these are fed; row of the block table
    std::vector<int32_t> sample_rows;             // [R] index in T of the token whose hidden state predicts the token to draw
    std::vector<float> temperature, top_p, min_p;
    std::vector<int32_t> top_k;                   // [R]
    std::vector<uint64_t> key, trajectory;        // [R] the noise of the draw ...
    std::vector<uint32_t> position;               // [R] ... and the place of the drawn token in its stream
    std::vector<int32_t> support_row;             // [R] row of the support table; -1: every token is legal
    int32_t num_probes = 0;                       // Q hidden states asked for by sequences; the arrays hold max_step_tokens
    std::vector<int32_t> probe_rows;              // [Q] index in T
    std::vector<int32_t> probe_targets;           // [Q] token whose log-probability it is to tell; -1: it is wanted for itself
    std::vector<float> probe_temperature;         // [Q]
    std::vector<int64_t> probe_ask;               // [Q] number of the question
    // once share_prefixes() has looked: M tokens of the sequences that share, in G groups
    std::vector<int32_t> shared_tokens;  // [M] index in T, group by group
    std::vector<int32_t> shared_cuts;    // [G + 1] of these by group
    std::vector<int32_t> shared_splits;  // [B] splits that a sequence shares with its group
};

// How much of a plan's sequences' contexts they have in common.
struct SharedPrefixes {
    int32_t num_tokens = 0, num_groups = 0;  // M, G
    int32_t most = 0;                        // the largest of Plan::shared_splits
};

struct PolicyCounters {
    int64_t steps = 0, tokens_fed = 0, tokens_prefilled = 0, tokens_sampled = 0;
    int64_t tokens_covered = 0;  // each counted once, whether it was fed, fed again or taken over: a function of the trajectories alone
    int64_t keys_covered = 0;    // summed over these: how many tokens each attends to, itself included
    int64_t prefixes_shared = 0, tokens_shared = 0;  // sequences that took over the beginning of their prompt; tokens not fed for that
    int64_t evictions = 0, tokens_recomputed = 0;    // sequences that lost their blocks; tokens fed again, for that or for new weights
    int64_t swaps = 0;  // of these evictions, those whose blocks were copied out
    int64_t tokens_ahead = 0, tokens_overrun = 0;  // fed before their value was known here; those of them behind an end
    int64_t tokens_forked = 0, blocks_copied = 0;  // tokens not fed because a fork took them over; last blocks that were shared and had to be copied
};

// What new weights mean for the live sequences: everything is fed again under them, or what lies in the cache stays.
enum class OnUpdate : uint8_t { recompute, keep };

// What is to be done with the cache before a plan is run, in this order: copy the blocks of a sequence out, back into others (the first of
// them), or forget the copy; let a fork share the copy of slot blocks[0]; copy block blocks[0] to blocks[1].
struct Swap {
    enum class Kind : uint8_t { out, in, drop, fork, copy };
    Kind kind;
    int32_t slot;  // of the sequence, which it keeps until its episode is over
    std::vector<int32_t> blocks;
};

class Scheduler {
  public:
    // `rules` lacks only its support table. Episode e plays task e / group_size; trajectory e * num_seats + s is what its seat s saw,
    // whichever range of the episodes is played.
    // record_all: also keep the trajectories of seats not played by policy 0.
    // Throws std::invalid_argument if an argument is out of range or a sequence of max_tokens could never fit a policy's cache.
    Scheduler(std::unique_ptr<EpisodeRules> rules, std::vector<PolicyLimits> policies, SamplingParameters sampling, int threads,
              bool record_all);
    ~Scheduler();

    // Plans the next step of a policy. Waits, at most `patience`, only if no policy could run. The plan is empty if there is nothing for
    // this policy to do now; see is_done(). It stands in plan_buffers(policy, 0). Throws std::logic_error if a plan of the policy is out.
    const Plan& plan(int32_t policy, std::chrono::milliseconds patience);

    // Plans the step behind the one plan of the policy that is out, to be run behind it; never waits. It stands in the other buffers. Empty
    // if nothing can be planned yet, or blocks are too scarce: commit first. Throws std::logic_error unless exactly one plan is out.
    const Plan& plan_ahead(int32_t policy);

    // Finds, in the plan last made, sequences whose first `split` tokens lie in the same blocks, and how many whole splits each such group has in
    // common of what lies before the tokens fed now. O(B), for who can read such blocks once; nothing else depends on it. Throws
    // std::invalid_argument unless `split` is a multiple of the block size.
    SharedPrefixes share_prefixes(int32_t policy, int32_t split);

    // How many plans of the policy have been made and not committed: 0 to 2.
    int32_t num_out(int32_t policy) { return state(policy).num_out; }

    // The drawn tokens of the policy's oldest plan that is out, [R], and the log-probabilities of its probes' targets, [Q]; null if it has none.
    // Throws std::invalid_argument, with nothing changed, if a token is outside the vocabulary or a log-probability is not finite.
    void commit(int32_t policy, const int32_t* tokens, const float* logprobs, const float* kept_logmass, std::size_t count,
                const float* probed = nullptr);

    // For collections without a policy: waits, at most `patience`, until an episode is over or the collection is done.
    void wait(std::chrono::milliseconds patience);

    bool is_done() const { return num_done_ == num_episodes_; }

    // The trajectories, sorted by index; once, when the collection is done.
    TrajectoryBuffer take();

    // Asks for an episode. Throws std::invalid_argument if a parameter is out of range or the index is that of another that is not over.
    void submit(Request request);

    // Gives a submitted episode up: it frees its slots and blocks, once its environment has answered if that is at work, and leaves no
    // trajectory. Nothing happens if it is over.
    void cancel(int64_t index);

    // Makes a plan() or wait() that waits return at once, or the next one that would.
    void poke();

    // Whether nothing runs, nor can start before something is released.
    bool is_idle();

    // The trajectories of the submitted episodes that are over since the last call, sorted by index. `over` gets the indices of these episodes,
    // cancelled ones included.
    TrajectoryBuffer take_finished(std::vector<int64_t>& over);
    bool has_over() const { return !over_.empty(); }

    // Makes a sequence of the policy that plays seat 0. Index as of a request, with whose its noise is shared out. From any thread, as the
    // three below. Throws std::invalid_argument if an argument is out of range; what is known only later is told by its answers.
    void open(int64_t index, std::vector<int32_t> tokens);

    // Makes a sequence of the first `length` tokens (-1: all) of another, or of what a seat has seen of a request that is not over, or is held.
    void fork(int64_t index, int64_t parent, int32_t seat, int32_t length);

    // Asks a sequence; take_answers() answers.
    void ask(int64_t index, Ask ask);

    // Lets go of a sequence, whose unanswered questions are answered by an error, or of a held request.
    void release(int64_t index);

    std::vector<Answer> take_answers();

    // The tokens of streamed episodes since the last call.
    StreamEvents take_events();

    // Stops the threads; one that is still inside an environment after `grace` is let go. Returns whether all could be joined.
    bool close(std::chrono::milliseconds grace);

    // Tags the tokens committed from now on. Prompts computed under another version are not shared any more. Throws std::logic_error while
    // a plan of the policy is out.
    void set_version(int32_t policy, int32_t version, OnUpdate on_update);

    // To be done before the plan last made is run; none unless some sequence kept what earlier weights had made, or was forked.
    std::vector<Swap> take_swaps(int32_t policy);
    const Plan& plan_buffers(int32_t policy, int32_t number) { return state(policy).steps[static_cast<std::size_t>(number & 1)].plan; }
    const Plan& last_plan(int32_t policy) { return state(policy).made().plan; }
    const Plan& oldest_plan(int32_t policy) { return state(policy).oldest().plan; }
    BlockTable& block_table(int32_t policy) { return state(policy).blocks; }
    const PolicyLimits& limits(int32_t policy) { return state(policy).limits; }
    const SupportSets& supports() const { return *world_->rules->supports; }
    const PolicyCounters& counters(int32_t policy) { return state(policy).counters; }
    double wait_s() const { return wait_s_; }  // the driving thread waited for environments
    int64_t num_done() const { return num_done_; }
    int64_t num_failed() const { return num_failed_; }
    const std::map<std::string, int64_t>& failure_reasons() const { return failure_reasons_; }  // episodes by kind of failure
    int32_t num_policies() const { return static_cast<int32_t>(policies_.size()); }
    int64_t num_episodes() const { return num_episodes_; }

  private:
    using Clock = std::chrono::steady_clock;

    // What the threads touch. It outlives the scheduler if one of them is stuck inside an environment.
    struct World {
        std::unique_ptr<EpisodeRules> rules;
        std::vector<std::unique_ptr<Episode>> episodes;
        std::mutex mutex;
        std::condition_variable completed;
        std::vector<Episode*> done;      // handed back by the threads, not yet taken by the driving thread
        std::size_t wanted = SIZE_MAX;   // the driving thread is waiting for so many
        bool is_poked = false;
        // what other threads asked for, not yet taken by the driving thread
        std::vector<std::shared_ptr<const Request>> submitted;
        std::vector<int64_t> cancelled;
        std::vector<SequenceCommand> commands;
        std::unordered_set<int64_t> indices;  // of requests that are not over or held, and of sequences
    };
    struct Row {
        Seat* seat;
        int32_t num_tokens;
        int32_t sample = -1;      // its sampling row; -1: nothing is drawn for it
        int32_t ahead = -1;       // the seat's row in the plan behind, if that feeds what this one draws
        bool is_overrun = false;  // what it draws is dropped; the seat may be another thread's
    };
    // A plan, and whom it feeds.
    struct Planned {
        Plan plan;
        std::vector<Row> rows;
        bool ends_prompt = false;   // some sequence is fed the end of its prompt
        std::vector<Seat*> probed;  // [Q]
        Clock::time_point at{};
    };
    // Sequences of a plan that begin with the same blocks.
    struct PrefixGroup {
        int32_t slot = -1;  // of the first of them
        int32_t splits = 0, num_sequences = 0, num_tokens = 0, end = 0;  // end: in Plan::shared_tokens, so far
    };
    struct PolicyState {
        PolicyState(const PolicyLimits& limits, int32_t max_tokens, const SamplingParameters& sampling, uint64_t key);
        Planned& made() { return steps[last]; }
        Planned& oldest() { return steps[num_out == 2 ? 1 - last : last]; }
        PolicyLimits limits;
        BlockTable blocks;
        std::array<Planned, 2> steps;
        std::size_t last = 0;  // which of them was made last
        int32_t num_out = 0;
        std::vector<int32_t> free_slots;
        std::vector<Seat*> decoding;    // one token to feed
        std::vector<Seat*> prefilling;  // several tokens to feed; those that have begun stand first
        std::vector<std::size_t> free_rows;  // of the plan that is out: those that can be planned ahead
        // that the last plan() left out because blocks ran out, and how many were free behind it
        std::size_t num_refused = 0, num_prefills_refused = 0;
        int32_t num_free_then = 0;
        std::vector<Seat*> by_slot;     // live sequences
        std::vector<Seat*> by_age;      // of a plan when blocks are scarce: those that could be fed, the oldest first
        std::vector<int32_t> block_tokens;  // of the block looked up or published last
        std::vector<int32_t> rest_tokens;   // of the end of a prompt that was
        std::vector<PrefixGroup> groups;  // of the plan looked at last ...
        std::vector<std::pair<uint64_t, std::size_t>> group_of_chain;  // ... by the chain of their first split: a hash table
        int32_t num_seats = 0;          // of an episode
        int32_t version = 0;
        int32_t num_swapped = 0;        // sequences that are copied out
        std::vector<Swap> swaps;
        PolicyCounters counters;
        Clock::time_point committed_at{};
        double step_s = 0.002;          // how long the last step took; before the first, a guess
    };

    PolicyState& state(int32_t policy);
    void admit();
    std::shared_ptr<const Request> next_request();
    void start();
    void take_requests();
    void give_up(int64_t index);
    void report(Episode& episode);
    void note_run(double seconds);
    void drain();
    void take_back(Episode& episode);
    bool await(Clock::time_point deadline, std::size_t enough);
    void linger(const PolicyState& policy);
    void finish(Episode& episode);
    void make_ready(Seat& seat);
    bool is_any_out() const;
    bool is_held_up();
    static void clear(PolicyState& policy, std::size_t number);
    static void hand_out(PolicyState& policy);
    static void find_free(PolicyState& policy);
    static void fill_decoding(PolicyState& policy);
    static void fill_ahead(PolicyState& policy);
    static bool can_decode_ahead(const PolicyState& policy);
    static void fill_prefilling(PolicyState& policy);
    static void fill_scarce(PolicyState& policy);
    static bool is_plenty(const PolicyState& policy);
    static int32_t room(const PolicyState& policy);
    static bool claim(PolicyState& policy, Seat& seat, int32_t most, bool& is_closed);
    static bool take_over_prefix(PolicyState& policy, Seat& seat);
    static Seat* find_prompt(PolicyState& policy, const Seat& seat);
    static bool take_over_rest(PolicyState& policy, Seat& seat);
    static bool ride(PolicyState& policy, Seat& seat);
    static bool holds_what_is_fed(const PolicyState& policy, const Seat& seat);
    static void publish_prefix(PolicyState& policy, Seat& seat, int32_t end);
    static bool evict_for(PolicyState& policy, const Seat& seat);
    static void swap_out(PolicyState& policy, Seat& seat);
    static void swap_in(PolicyState& policy, Seat& seat);
    static void forget_swap(PolicyState& policy, Seat& seat);
    static void append(PolicyState& policy, Seat& seat, int32_t num_tokens);
    static void append_ahead(PolicyState& policy, Row& row);
    static void add_row(PolicyState& policy, Seat& seat, int32_t start, int32_t num_tokens, bool samples);
    static void add_sample(Plan& plan, const Seat& seat, int32_t token, int32_t end);
    static void count_fed(PolicyState& policy, Seat& seat, int32_t end);
    void check_draws(const Planned& step, const int32_t* tokens, const float* logprobs, const float* kept_logmass, std::size_t count,
                     const float* probed) const;
    static void probe(PolicyState& policy, Seat& seat, int32_t end);
    void resume(Episode& episode, Progress progress);
    bool has_slots() const;
    void check_index(int64_t index) const;
    void reserve(int64_t index);
    void forget(const Episode& episode);
    void let_go(Episode& episode);
    void let_go_if_left(Episode& episode);
    void push(SequenceCommand command);
    void take_commands();
    void give_slots();
    bool bear(Sequence& sequence);
    void share_with_parent(PolicyState& policy, Sequence& sequence);
    void go_on(Sequence& sequence);
    bool begin(Sequence& sequence, Ask& ask);
    void complete(Sequence& sequence, std::string error);
    void release(Sequence& sequence);
    static void publish_filled(PolicyState& policy, Seat& seat, int32_t prompt_length);
    static bool own_tail(PolicyState& policy, Seat& seat, int32_t start);
    const Seat* find_seat(int64_t index, int32_t seat);

    std::shared_ptr<World> world_;
    std::vector<PolicyState> policies_;
    SamplingParameters sampling_;
    bool record_all_;
    bool takes_requests_;  // there are no tasks: episodes are submitted
    int64_t num_episodes_ = 0, next_episode_ = 0, end_episode_ = 0, num_done_ = 0, num_failed_ = 0;
    std::map<std::string, int64_t> failure_reasons_;
    std::size_t num_live_ = 0, num_running_ = 0, max_live_ = 0, num_held_ = 0;  // running: on the thread pool; held: live, but over
    std::vector<Episode*> idle_, taken_, to_run_;
    std::deque<std::shared_ptr<const Request>> pending_;
    std::unordered_map<int64_t, Episode*> submitted_;  // that have started
    std::vector<std::shared_ptr<const Request>> new_requests_;
    std::vector<int64_t> new_cancelled_, over_;
    std::vector<SequenceCommand> new_commands_;
    std::unordered_map<int64_t, std::unique_ptr<Sequence>> sequences_;
    std::deque<Sequence*> waiting_;  // for their tokens, or a slot
    int64_t num_asked_ = 0;          // sequences at work
    std::vector<Answer> answers_;
    StreamEvents events_;
    TrajectoryStore finished_;
    double wait_s_ = 0;                  // spent waiting in all
    double run_s_ = 0, last_run_s_ = 0;  // what an episode takes that the driving thread runs itself; as measured last
    int64_t num_handed_over_ = 0;
    ThreadPool<Episode*> pool_;
};

}  // namespace paradigm
